"""Megalodon (arXiv:2404.08801): embedding, two-hop blocks, Timestep Norm, head."""

from types import NoneType
from typing import Any

from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_instance, require_positive
from megalodon_edu.models.config import MegalodonConfig
from megalodon_edu.models.language_model import LanguageModel
from megalodon_edu.nn import (
    FeedForward,
    NormalizedAttention,
    NormalizedAttentionState,
    PreNormBlock,
    TimestepNormState,
    TwoHopBlock,
)
from megalodon_edu.nn.norms import make_norm, run_norm


class Megalodon(LanguageModel):
    """`forward(tokens, state=None) -> (logits, state)`; any split of a text into calls gives the logits of one call."""

    config: MegalodonConfig
    config_type = MegalodonConfig
    layer_state = NormalizedAttentionState

    def __init__(self, config: MegalodonConfig, backend: str = "auto"):
        super().__init__(config, backend)
        self.norm_state = NoneType if config.norm == "layer" else TimestepNormState
        self.layers.extend(make_block(config, layer, backend) for layer in range(config.num_layers))
        decays = config.norm_mean_decay, config.norm_var_decay
        self.final_norm = make_norm(config.norm, config.model_dim, config.norm_num_groups, *decays, backend)
        self.reset_parameters()

    def run_norm(self, x: Float[Tensor, "batch time channel"], state: Any) -> tuple[Tensor, Any]:
        """The final norm, Timestep Norm unless the configuration says otherwise."""
        return run_norm(self.final_norm, x, state)


def make_block(config: MegalodonConfig, layer: int, backend: str = "auto") -> TwoHopBlock | PreNormBlock:
    """Block number `layer`, counted from 0."""
    attention = NormalizedAttention(
        config.model_dim,
        config.z_dim,
        config.value_dim,
        config.num_heads,
        modes=config.cema_ndim,
        chunk_size=config.chunk_size,
        norm_num_groups=config.norm_num_groups,
        rope_base=config.rope_base,
        dropout=config.dropout,
        hidden_dropout=config.hidden_dropout,
        attention_dropout=config.attention_dropout,
        backend=backend,
        normalize_z=config.normalize_z,
        ema=config.ema,
        norm=config.norm,
        mean_decay=config.norm_mean_decay,
        var_decay=config.norm_var_decay,
        attention=config.attention,
    )
    feed_forward = FeedForward(
        config.model_dim,
        config.ffn_hidden_dim,
        config.swiglu,
        rescale=0.1 * 0.5**layer if config.rescale_nffn else None,
        dropout=config.dropout,
        hidden_dropout=config.hidden_dropout,
        backend=backend,
    )
    return (TwoHopBlock if config.residual == "two-hop" else PreNormBlock)(attention, feed_forward)


def megalodon_state_bytes(config: MegalodonConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    """Bytes of the state after `context` tokens: periodic in the chunk, bounded whatever the context.

    Keys and values take `activation_bytes` each (2 in bfloat16); averages and statistics are float32, counts int64.
    Raises TypeError or ValueError for a config of another model and for numbers below 0 (batch and bytes: below 1).
    """
    require_instance("config", config, MegalodonConfig, 'take one with MegalodonConfig.preset("tiny")')
    require_positive("context", context, least=0)
    require_positive("batch", batch)
    require_positive("activation_bytes", activation_bytes)
    held = context % config.chunk_size if config.attention else 0
    cache = held * (config.z_dim + config.value_dim) * activation_bytes
    average = 0 if config.ema == "none" else config.model_dim * config.cema_ndim * 8
    norm = 0 if config.norm == "layer" else 8 + 2 * config.norm_num_groups * 4
    return batch * (config.num_layers * (cache + average + norm) + norm)
