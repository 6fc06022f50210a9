"""Sizes of a model, in the authors' names, and the presets."""

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from megalodon_edu.arguments import (
    require_above_zero,
    require_between,
    require_bool,
    require_choice,
    require_divisor,
    require_instance,
    require_positive,
)
from megalodon_edu.nn.attention import EMAS
from megalodon_edu.nn.blocks import RESIDUALS
from megalodon_edu.nn.norms import NORMS
from megalodon_edu.ops.timestep_decay_norm import MEAN_DECAY, VAR_DECAY, require_decays


@dataclass(frozen=True)
class ModelConfig:
    """What every model of the package shares."""

    num_layers: int
    model_dim: int
    ffn_hidden_dim: int
    num_heads: int
    vocab_size: int = 256
    rope_base: float = 10_000.0
    scale_emb: bool = False
    share_emb: bool = False
    dropout: float = 0.0
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_layers", "model_dim", "ffn_hidden_dim", "num_heads", "vocab_size"):
            require_positive(name, getattr(self, name))
        for name in ("dropout", "hidden_dropout", "attention_dropout"):
            require_between(name, getattr(self, name), 0.0, 1.0)
        for name in ("scale_emb", "share_emb"):
            require_bool(name, getattr(self, name))
        require_above_zero("rope_base", self.rope_base)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ValueError naming fields that are unknown or missing."""
        require_instance("values", values, dict, "pass what to_dict returned")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            names = ", ".join(sorted(known))
            raise ValueError(f"unknown fields of {cls.__name__}: {', '.join(unknown)}; known: {names}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := sorted(needed - set(values)):
            raise ValueError(f"missing fields of {cls.__name__}: {', '.join(missing)}")
        return cls(**values)


@dataclass(frozen=True)
class MegalodonConfig(ModelConfig):
    """Sizes of Megalodon. z_dim is the query/key width and value_dim the value width over all heads; cema_ndim the
    complex modes per channel; norm_num_groups the feature groups of Timestep Norm; rescale_nffn scales each
    feed-forward update by a learnable number per feature that starts at 0.1 · 0.5^layer.

    The fields from normalize_z on change or leave out a part, for comparison; their defaults are Megalodon.
    normalize_z, ema, attention: see `nn.NormalizedAttention`.  norm: of the blocks and at the end, see
    `nn.norms.make_norm`, with norm_mean_decay and norm_var_decay where it is "decay".  residual: "two-hop", or
    "pre-norm", the usual two residuals.
    """

    z_dim: int = 64
    value_dim: int = 256
    cema_ndim: int = 16
    chunk_size: int = 2048
    norm_num_groups: int = 32
    swiglu: bool = False
    rescale_nffn: bool = False
    normalize_z: bool = True
    ema: str = "complex"
    norm: str = "timestep"
    norm_mean_decay: float = MEAN_DECAY
    norm_var_decay: float = VAR_DECAY
    residual: str = "two-hop"
    attention: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("z_dim", "value_dim", "cema_ndim", "chunk_size", "norm_num_groups"):
            require_positive(name, getattr(self, name))
        for name in ("swiglu", "rescale_nffn", "normalize_z", "attention"):
            require_bool(name, getattr(self, name))
        for name, choices in (("ema", EMAS), ("norm", NORMS), ("residual", RESIDUALS)):
            require_choice(name, getattr(self, name), choices)
        require_decays(self.norm_mean_decay, self.norm_var_decay)
        for name in ("z_dim", "value_dim"):
            require_divisor("num_heads", self.num_heads, name, getattr(self, name))
        if (self.z_dim // self.num_heads) % 2:
            raise ValueError(
                f"z_dim / num_heads must be even for the rotary embedding, got {self.z_dim} / {self.num_heads}"
            )
        require_divisor("norm_num_groups", self.norm_num_groups, "model_dim", self.model_dim)
        if self.norm_num_groups == self.model_dim:
            raise ValueError(
                f"norm_num_groups must be smaller than model_dim, got {self.norm_num_groups} for both: "
                "a group of one feature has no variance at the first token"
            )

    @classmethod
    def preset(cls, name: str) -> Self:
        """One of `PRESETS`: five sizes of the paper and its code, and the byte-level `tiny` (CPU), `small` (GPU)."""
        require_choice("name", name, tuple(PRESETS))
        return cls(**PRESETS[name])


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """Sizes of the Llama-style baseline. kv_heads < num_heads shares keys and values (GQA); context_size is the longest
    sequence it is trained and scored on. `window` lets every token attend to the last so many tokens only, itself among
    them, which bounds the cache; None: to all before it.
    """

    kv_heads: int = 1
    context_size: int = 2048
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("context_size", self.context_size)
        if self.window is not None:
            require_positive("window", self.window)
        require_divisor("kv_heads", self.kv_heads, "num_heads", self.num_heads)
        if self.model_dim % self.num_heads or (self.model_dim // self.num_heads) % 2:
            raise ValueError(
                f"model_dim / num_heads must be an even whole number, got {self.model_dim} / {self.num_heads}"
            )


def _sizes(layers: int, dim: int, heads: int, z: int, value: int, ffn: int, groups: int, **more: Any) -> dict[str, Any]:
    return {
        "num_layers": layers,
        "model_dim": dim,
        "num_heads": heads,
        "z_dim": z,
        "value_dim": value,
        "ffn_hidden_dim": ffn,
        "norm_num_groups": groups,
        "vocab_size": 32_000,
        **more,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "200M": _sizes(12, 1024, 1, 256, 2048, 2560, 32),
    "1.3B": _sizes(24, 2048, 2, 512, 4096, 4864, 64),
    "1.3B-PG19": _sizes(24, 2048, 2, 512, 4096, 3584, 64, swiglu=True, share_emb=True, scale_emb=True),
    "7.1B": _sizes(32, 4096, 4, 1024, 8192, 11264, 64),
    "7.3B": _sizes(32, 4096, 4, 1024, 8192, 8192, 64, swiglu=True),
    "tiny": _sizes(2, 128, 1, 64, 256, 256, 8, vocab_size=256, swiglu=True, chunk_size=128, cema_ndim=8),
    "small": _sizes(8, 384, 1, 128, 768, 704, 32, vocab_size=256, swiglu=True, chunk_size=1024),
}
