"""Language models: Megalodon, the Transformer it is compared with, presets, weights and generation."""

from megalodon_edu.models.config import PRESETS, MegalodonConfig, ModelConfig, TransformerConfig
from megalodon_edu.models.decoder import Decoder, has_decoder, make_decoder
from megalodon_edu.models.generate import Generation, generate
from megalodon_edu.models.language_model import LanguageModel, ModelState, detach, evaluating, state_bytes
from megalodon_edu.models.megalodon import Megalodon, megalodon_state_bytes
from megalodon_edu.models.norm_truncation import NormTruncation, read_truncated
from megalodon_edu.models.pretrained import pretrained, pretrained_names
from megalodon_edu.models.reference_weights import load_reference_weights
from megalodon_edu.models.transformer import Transformer, match_transformer, transformer_state_bytes
from megalodon_edu.models.variants import with_config, with_norm

__all__ = [
    "PRESETS",
    "Decoder",
    "Generation",
    "LanguageModel",
    "Megalodon",
    "MegalodonConfig",
    "ModelConfig",
    "ModelState",
    "NormTruncation",
    "Transformer",
    "TransformerConfig",
    "detach",
    "evaluating",
    "generate",
    "has_decoder",
    "load_reference_weights",
    "make_decoder",
    "match_transformer",
    "megalodon_state_bytes",
    "pretrained",
    "pretrained_names",
    "read_truncated",
    "state_bytes",
    "transformer_state_bytes",
    "with_config",
    "with_norm",
]
