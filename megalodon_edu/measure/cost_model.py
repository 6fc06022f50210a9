"""What a model costs on paper: parameters, floating-point operations and bytes, from its sizes alone.

    product (m × k)(k × n):  2 m k n FLOPs          one multiplication and one addition for each of m n k pairs

Symbols: D model_dim, Z z_dim, V value_dim, F ffn_hidden_dim, H num_heads, G norm_num_groups, N cema_ndim, C chunk_size,
w head width, KV = kv_heads · w, n tokens. `tests/measure/test_cost_model.py` holds every formula against the models:
the parameters and the products exactly, the activations within two percent.
"""

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

from megalodon_edu.arguments import require_positive
from megalodon_edu.models import (
    MegalodonConfig,
    ModelConfig,
    TransformerConfig,
    megalodon_state_bytes,
    transformer_state_bytes,
)

SCAN = 64
"""Steps that `ops.complex_ema.complex_ema_chunked` takes at once; not the attention's chunk."""

TRAINING_PASSES = 3
"""A training step in forward passes: the products backward are twice those forward, one for each of two factors."""

FLOAT32 = 4


class Flops(NamedTuple):
    """Floating-point operations of one sequence, by part.

    attention counts q·k and the sum over v; average is CEMA. Norms work number by number and are counted by hand.
    Left out, as in most counts: softmax, activations, gates, rotary embedding and residuals.
    """

    projections: int
    feed_forward: int
    attention: int
    average: int
    head: int
    norms: int

    @property
    def products(self) -> int:
        """All matrix products, which is what PyTorch's counter sees."""
        return sum(self) - self.norms

    @property
    def total(self) -> int:
        """Everything that is counted."""
        return sum(self)


def attended_pairs(context: int, chunk_size: int | None = None, square: bool = False) -> int:
    """How many (query, key) pairs causal attention compares over `context` tokens, in chunks or (None) in one.

    A chunk of n tokens has n(n+1)/2 of them. square=True counts all n², as a program does that masks half of them.
    """
    require_positive("context", context, least=0)
    size = context if chunk_size is None else chunk_size
    if context == 0:
        return 0
    require_positive("chunk_size", size)
    full, rest = divmod(context, size)
    if square:
        return full * size**2 + rest**2
    return (full * size * (size + 1) + rest * (rest + 1)) // 2


@singledispatch
def parameters(config: ModelConfig) -> int:
    """Number of parameters, a shared table counted once. Raises TypeError for an unknown kind of configuration."""
    raise _unknown(config)


@parameters.register
def _(config: MegalodonConfig) -> int:
    d, z, v = config.model_dim, config.z_dim, config.value_dim
    norms = 2 * d + d + 2 * d  # Timestep Norm, RMSNorm, LayerNorm
    average = 4 * d * config.cema_ndim + 2 * d  # alpha, delta, gamma twice; theta, omega
    projections = _projections(config) + 2 * v + z + d  # and the biases of wv, wr, wz, wh1
    feed_forward = _feed_forward(config) + (d if config.rescale_nffn else 0)
    return config.num_layers * (norms + average + 2 * 2 * z + projections + feed_forward) + 2 * d + _tables(config)


@parameters.register
def _(config: TransformerConfig) -> int:
    layer = 2 * config.model_dim + _projections(config) + _feed_forward(config)
    return config.num_layers * layer + config.model_dim + _tables(config)


@singledispatch
def forward_flops(config: ModelConfig, context: int, square: bool = False) -> Flops:
    """Reading `context` tokens at once, from nothing.

    square=True counts attention as PyTorch's counter does, with the masked half. Raises TypeError for an unknown kind
    of configuration, ValueError for a context below 1.
    """
    raise _unknown(config)


@forward_flops.register
def _(config: MegalodonConfig, context: int, square: bool = False) -> Flops:
    require_positive("context", context)
    return _megalodon(config, context, attended_pairs(context, config.chunk_size, square))


@forward_flops.register
def _(config: TransformerConfig, context: int, square: bool = False) -> Flops:
    require_positive("context", context)
    return _transformer(config, context, attended_pairs(context, None, square))


@singledispatch
def next_token_flops(config: ModelConfig, context: int) -> Flops:
    """One more token after `context` tokens. Errors as `forward_flops`; a context of 0 is the first token."""
    raise _unknown(config)


@next_token_flops.register
def _(config: MegalodonConfig, context: int) -> Flops:
    require_positive("context", context, least=0)
    return _megalodon(config, 1, context % config.chunk_size + 1)


@next_token_flops.register
def _(config: TransformerConfig, context: int) -> Flops:
    require_positive("context", context, least=0)
    return _transformer(config, 1, context + 1)


@singledispatch
def state_bytes_after(config: ModelConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    """Bytes of the state after `context` tokens, as `models` counts them for either kind of model."""
    raise _unknown(config)


@state_bytes_after.register
def _(config: MegalodonConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    return megalodon_state_bytes(config, context, batch, activation_bytes)


@state_bytes_after.register
def _(config: TransformerConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    return transformer_state_bytes(config, context, batch, activation_bytes)


@singledispatch
def most_state_bytes(config: ModelConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    """The most that the state takes on the way to `context` tokens: Megalodon's just before a chunk is full."""
    return state_bytes_after(config, context, batch, activation_bytes)


@most_state_bytes.register
def _(config: MegalodonConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    return megalodon_state_bytes(config, min(context, config.chunk_size - 1), batch, activation_bytes)


@singledispatch
def activation_bytes(config: ModelConfig, context: int, batch: int = 1) -> int:
    """Bytes that a training step in float32 keeps from its forward pass for its backward pass.

    Each layer keeps some numbers per token, and each norm, product and gate adds those that its derivative needs.
    The formulas describe this package's PyTorch modules on a CPU, without dropout: a Transformer with fused attention,
    a Megalodon that keeps the weights of its attention (C · H a token) and, once a layer, the tables of CEMA's chunked
    face. Other kernels keep other numbers. Errors as `forward_flops`; for Megalodon, `context` fills whole chunks.
    """
    raise _unknown(config)


@activation_bytes.register
def _(config: MegalodonConfig, context: int, batch: int = 1) -> int:
    require_positive("context", context)
    require_positive("batch", batch)
    d, z, heads, groups = config.model_dim, config.z_dim, config.num_heads, config.norm_num_groups
    modes, scan = config.cema_ndim, min(SCAN, context)
    rounds = (context - 1).bit_length()  # of Timestep Norm's scan: log2, rounded up
    norm = (rounds + 2) * groups + 2 * rounds
    average = 6 * d * modes // scan  # CEMA's states between its chunks
    attention = 3 * z + 2 * z // heads + 6 * config.value_dim + min(config.chunk_size, context) * heads
    z_norm = z + heads if config.normalize_z else 0
    feed_forward = (4 if config.swiglu else 2) * config.ffn_hidden_dim + (d if config.rescale_nffn else 0)
    layer = 9 * d + 5 + norm + average + attention + z_norm + feed_forward
    around = 4 * d + norm + config.vocab_size
    tables = config.num_layers * d * scan * (scan + 18 * modes)
    return FLOAT32 * (batch * context * (config.num_layers * layer + around) + tables)


@activation_bytes.register
def _(config: TransformerConfig, context: int, batch: int = 1) -> int:
    require_positive("context", context)
    require_positive("batch", batch)
    d, width = config.model_dim, config.model_dim // config.num_heads
    attention = 2 * config.kv_heads * width + 2 * width + config.num_heads
    layer = 8 * d + 2 + attention + 4 * config.ffn_hidden_dim
    around = 3 * d + 3 + config.vocab_size
    return FLOAT32 * batch * context * (config.num_layers * layer + around)


def training_bytes(config: ModelConfig, context: int, batch: int = 1) -> int:
    """Bytes of a training step with Adam in float32: weights, gradients, two moments, and `activation_bytes`."""
    return 4 * FLOAT32 * parameters(config) + activation_bytes(config, context, batch)


def first_context(costs_more: Sequence[bool], contexts: Sequence[int]) -> int | None:
    """The first context at which the comparison holds from there on to the end; None where it never does.

    Raises ValueError unless both have the same length.
    """
    if len(costs_more) != len(contexts):
        raise ValueError(f"costs_more must have one entry per context, got {len(costs_more)} for {len(contexts)}")
    found = None
    for context, more in zip(contexts, costs_more, strict=True):
        found = (found or context) if more else None
    return found


def _megalodon(config: MegalodonConfig, tokens: int, pairs: int) -> Flops:
    d, z, layers = config.model_dim, config.z_dim, config.num_layers
    timestep_norm = 8 * d + 12 * config.norm_num_groups
    norms = timestep_norm + 4 * d + (3 * z if config.normalize_z else 0) + 7 * d  # and RMSNorm, z's norm, LayerNorm
    return Flops(
        projections=2 * tokens * layers * _projections(config),
        feed_forward=2 * tokens * layers * _feed_forward(config),
        attention=2 * pairs * layers * (z + config.value_dim),
        average=layers * _average(config, tokens),
        head=2 * tokens * d * config.vocab_size,
        norms=tokens * (layers * norms + timestep_norm),
    )


def _transformer(config: TransformerConfig, tokens: int, pairs: int) -> Flops:
    d, layers = config.model_dim, config.num_layers
    return Flops(
        projections=2 * tokens * layers * _projections(config),
        feed_forward=2 * tokens * layers * _feed_forward(config),
        attention=2 * pairs * layers * 2 * d,
        average=0,
        head=2 * tokens * d * config.vocab_size,
        norms=tokens * (2 * layers + 1) * 4 * d,
    )


def _average(config: MegalodonConfig, tokens: int) -> int:
    """CEMA, chunk by chunk of T steps: K x (T² a channel), then W x and V h (T · 2N each); K itself is one product."""
    scan = min(SCAN, tokens)
    chunks, rest = divmod(tokens, scan)
    return config.model_dim * sum(
        _kernel(config, size) + number * (2 * size**2 + 2 * 2 * size * 2 * config.cema_ndim)
        for size, number in ((scan, chunks), (rest, 1))
        if size
    )


def _kernel(config: MegalodonConfig, length: int) -> int:
    """`ops.recurrence.kernel`, one channel: a (length / block × 2N)(2N × block) product, block near √length."""
    block = max(1, round(length**0.5))
    return 2 * math.ceil(length / block) * 2 * config.cema_ndim * block


def _projections(config: ModelConfig) -> int:
    """Weights of one layer's products around its attention."""
    d = config.model_dim
    if isinstance(config, MegalodonConfig):
        return d * (config.z_dim + 2 * config.value_dim + d) + config.value_dim * d  # W_z, W_v, W_r, W_h1; W_h2
    assert isinstance(config, TransformerConfig)
    return 2 * d * d + 2 * d * config.kv_heads * (d // config.num_heads)  # query, out; key, value


def _feed_forward(config: ModelConfig) -> int:
    """Weights of one layer's feed-forward products."""
    gated = not isinstance(config, MegalodonConfig) or config.swiglu
    return (3 if gated else 2) * config.model_dim * config.ffn_hidden_dim


def _tables(config: ModelConfig) -> int:
    """Weights of embedding and head."""
    return (1 if config.share_emb else 2) * config.vocab_size * config.model_dim


def _unknown(config: object) -> TypeError:
    return TypeError(f"config must be a MegalodonConfig or a TransformerConfig, got {type(config).__name__}")
