"""Modules: parameters, initialisation and streaming state around the pure functions of `ops`."""

from megalodon_edu.nn.attention import NormalizedAttention, NormalizedAttentionState
from megalodon_edu.nn.blocks import PostNormBlock, PreNormBlock, TwoHopBlock
from megalodon_edu.nn.ema import ComplexEMA, DampedEMA
from megalodon_edu.nn.feed_forward import FeedForward
from megalodon_edu.nn.mega import MegaGatedAttention, MegaGatedAttentionState
from megalodon_edu.nn.norms import LayerNorm, RMSNorm, TimestepDecayNorm, TimestepNorm
from megalodon_edu.ops.attention import AttentionCache
from megalodon_edu.ops.timestep_norm import TimestepNormState

__all__ = [
    "AttentionCache",
    "ComplexEMA",
    "DampedEMA",
    "FeedForward",
    "LayerNorm",
    "MegaGatedAttention",
    "MegaGatedAttentionState",
    "NormalizedAttention",
    "NormalizedAttentionState",
    "PostNormBlock",
    "PreNormBlock",
    "RMSNorm",
    "TimestepDecayNorm",
    "TimestepNorm",
    "TimestepNormState",
    "TwoHopBlock",
]
