"""One token after another without waiting for the host: a step on buffers that stay where they are.

    decoder = make_decoder(model.eval(), batch=1)
    decoder.load(state)                  the state that model(...) returned; None: nothing read yet
    logits = decoder.step(tokens)        tokens (batch,) int64 -> logits (batch, vocabulary), valid until the next step
    state = decoder.state()              the state as model(...) would return it now

The state lives in tensors of fixed place and size, and the position in a tensor too, so every step runs the very same
operations. On a CUDA GPU they are recorded once as a graph, which the GPU then replays alone: some fifty launches per
layer otherwise cost more than the work. On a CPU, and with graph=False, the same code runs step by step.

Megalodon's buffers hold one chunk of keys and values: the cost of a step is bounded, and after any context the steps of
a chunk cost what those of the first did. The Transformer's hold a bucket of keys and values which doubles when it is
full, and a new bucket is a new graph. The Triton kernel reads a buffer as far as it is filled, the torch face all.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.arguments import require_bool, require_instance, require_integers, require_positive, require_tensor
from megalodon_edu.models.config import MegalodonConfig
from megalodon_edu.models.language_model import LanguageModel, ModelState
from megalodon_edu.models.megalodon import Megalodon
from megalodon_edu.models.transformer import KVCache, Transformer
from megalodon_edu.nn import (
    AttentionCache,
    NormalizedAttentionState,
    TimestepNorm,
    TimestepNormState,
    TwoHopBlock,
)
from megalodon_edu.nn.backend import uses_triton
from megalodon_edu.ops.recurrence import working_dtype
from megalodon_edu.ops.rotary import angles, turn

WARMUP = 3
"""Steps before a graph is recorded: libraries choose their algorithms and reserve memory in the first ones."""

LEAST_BUCKET = 256
"""Tokens in the Transformer's smallest buffer."""

Row = Float[Tensor, "batch channel"]
Logits = Float[Tensor, "batch vocabulary"]


def make_decoder(
    model: LanguageModel, batch: int = 1, graph: bool | None = None, compiled: bool = False, capacity: int | None = None
) -> "Decoder":
    """The decoder of a Megalodon or a Transformer in evaluation mode, on the model's device, at the empty state.

    Some variants have none, see `has_decoder`.
    graph: record a CUDA graph; None: where the model is on a GPU. compiled: torch.compile fuses the operations of a
    layer, which takes some seconds once. capacity: tokens of the Transformer's first bucket. The decoder keeps numbers
    made from the parameters: make a new one after the parameters change.
    Raises TypeError for another model, ValueError for one in training mode, for one without a decoder and for a graph
    without a GPU.
    """
    require_instance("model", model, LanguageModel, "pass a Megalodon or a Transformer")
    if problem := _why_no_decoder(model):
        raise ValueError(f"model has {problem}, for which there is no decoder; call the model itself")
    if isinstance(model, Megalodon):
        return MegalodonDecoder(model, batch, graph, compiled)
    if isinstance(model, Transformer):
        return TransformerDecoder(model, batch, graph, compiled, LEAST_BUCKET if capacity is None else capacity)
    raise TypeError(f"model must be a Megalodon or a Transformer, got {type(model).__name__}")


def has_decoder(model: LanguageModel) -> bool:
    """Whether `make_decoder` takes the model: not a Megalodon without one of its memories, and not a sliding window."""
    return _why_no_decoder(model) is None


def _why_no_decoder(model: LanguageModel) -> str | None:
    config = model.config
    if isinstance(config, MegalodonConfig):
        if config.norm != "timestep":
            return f"norm={config.norm!r}"
        if config.ema == "none":
            return "ema='none'"
        return None if config.attention else "attention=False"
    window = getattr(config, "window", None)
    return None if window is None else f"window={window}"


class Decoder(ABC):
    """The part that both models share: tokens in, logits out, and the graph between them."""

    model: LanguageModel

    def __init__(self, model: LanguageModel, batch: int, graph: bool | None, compiled: bool):
        require_positive("batch", batch)
        if model.training:
            raise ValueError("model must be in evaluation mode, got one in training mode; call model.eval()")
        self.device = next(model.parameters()).device
        for name, word in (("graph", graph), ("compiled", compiled)):
            if word is not None:
                require_bool(name, word)
        if graph and self.device.type != "cuda":
            raise ValueError(f"graph=True needs a model on a CUDA GPU, got one on {self.device}; use graph=None")
        self.batch, self.graphed = batch, self.device.type == "cuda" if graph is None else graph
        self.vocabulary = model.config.vocab_size
        self.compiled = compiled
        self.graph: torch.cuda.CUDAGraph | None = None
        with torch.inference_mode(False), torch.no_grad():  # generate's buffers live on after it
            self.tokens = torch.zeros(batch, dtype=torch.int64, device=self.device)
            self.build()
        self.logits: Logits | None = None
        self.steps = self.loaded = 0  # since the last load, and the keys that it brought

    @abstractmethod
    def build(self) -> None:
        """Make the buffers, at the empty state."""

    @abstractmethod
    def run(self) -> Logits:
        """One step from self.tokens, in place on the buffers."""

    @abstractmethod
    def make_room(self) -> None:
        """Make sure that the buffers can hold one more token."""

    @property
    @abstractmethod
    def held(self) -> int:
        """Keys and values that the buffers hold for every sequence."""

    @abstractmethod
    def load(self, state: ModelState | None) -> None:
        """Take over a state that the model returned. Raises TypeError or ValueError for one that does not fit."""

    @abstractmethod
    def state(self) -> ModelState:
        """A copy of the state, as the model would return it."""

    def step(self, tokens: Int[Tensor, " batch"]) -> Logits:
        """Read one token of every sequence; logits of the next. They are overwritten by the next step.

        Raises TypeError or ValueError for tokens that are no integers or not one for every sequence.
        """
        require_tensor("tokens", tokens, "batch", batch=self.batch)
        require_integers("tokens", tokens)
        with torch.inference_mode(False), torch.no_grad():
            self.make_room()
            self.tokens.copy_(tokens)
            if not self.graphed:
                self.logits = self.run()
            else:
                if self.graph is None:
                    self.record()
                assert self.graph is not None
                self.graph.replay()
            self.steps += 1
            assert self.logits is not None
            return self.logits

    def record(self) -> None:
        """Record the graph. The warm-up changes the buffers, so the state is put back."""
        kept = self.buffers()
        copies = [buffer.clone() for buffer in kept]
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                self.run()
                for buffer, copy in zip(kept, copies, strict=True):
                    buffer.copy_(copy)
        torch.cuda.current_stream(self.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self.run()

    @abstractmethod
    def buffers(self) -> list[Tensor]:
        """Every tensor that a step changes."""


class MegalodonBuffers(NamedTuple):
    """The state of one layer. The average is kept as real and imaginary part."""

    count: Int[Tensor, " batch"]  # type: ignore[assignment]  # hides tuple.count
    mean: Float[Tensor, "batch group"]
    var: Float[Tensor, "batch group"]
    ema_r: Float[Tensor, "batch channel mode"]
    ema_i: Float[Tensor, "batch channel mode"]
    keys: Float[Tensor, "batch head chunk key"]
    values: Float[Tensor, "batch head chunk value"]


class Coefficients(NamedTuple):
    """One step of CEMA: h' = q h + p x, y = Re Σ η h' + skip x."""

    q_r: Float[Tensor, "channel mode"]
    q_i: Float[Tensor, "channel mode"]
    p: Float[Tensor, "channel mode"]
    eta_r: Float[Tensor, "channel mode"]
    eta_i: Float[Tensor, "channel mode"]
    skip: Float[Tensor, " channel"]


class MegalodonDecoder(Decoder):
    """Megalodon's step. The position in the open chunk is a tensor, `place`."""

    model: Megalodon

    def __init__(self, model: Megalodon, batch: int, graph: bool | None, compiled: bool):
        self.model, self.chunk = model, model.config.chunk_size
        super().__init__(model, batch, graph, compiled)

    def build(self) -> None:
        config, model = self.model.config, self.model
        attention: Any = model.layers[0].attention
        kind = attention.wv.weight.dtype
        work = torch.promote_types(kind, torch.float32)
        batch, heads = self.batch, config.num_heads

        def zeros(*shape: int, dtype: torch.dtype = work) -> Tensor:
            return torch.zeros(batch, *shape, dtype=dtype, device=self.device)

        def layer() -> MegalodonBuffers:
            average = config.model_dim, config.cema_ndim
            keys, values = (
                zeros(heads, config.chunk_size, size // heads, dtype=kind) for size in (config.z_dim, config.value_dim)
            )
            statistics = zeros(config.norm_num_groups), zeros(config.norm_num_groups)
            return MegalodonBuffers(
                zeros(dtype=torch.int64), *statistics, zeros(*average), zeros(*average), keys, values
            )

        self.layers = [layer() for _ in model.layers]
        groups = config.norm_num_groups
        self.norm = TimestepNormState(zeros(dtype=torch.int64), zeros(groups), zeros(groups))
        self.place = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.column = torch.arange(config.chunk_size, device=self.device)
        self.coefficients = [_coefficients(block, work) for block in model.layers]
        self.layer_step = torch.compile(_megalodon_layer) if self.compiled else _megalodon_layer

    def buffers(self) -> list[Tensor]:
        return [*(buffer for layer in self.layers for buffer in layer), *self.norm, self.place]

    def make_room(self) -> None:
        """There is always room: the next chunk overwrites this one."""

    @property
    def held(self) -> int:
        return (self.loaded + self.steps) % self.chunk

    def run(self) -> Logits:
        model = self.model
        x = model.embedded(self.tokens)
        hidden = self.column > self.place
        for block, buffers, coefficients in zip(model.layers, self.layers, self.coefficients, strict=True):
            x = self.layer_step(block, x, buffers, coefficients, self.place, hidden)
        norm: Any = model.final_norm
        x = timestep_norm_step(norm, x, self.norm)
        self.place.add_(1).remainder_(self.chunk)
        return model.logits(x)

    def load(self, state: ModelState | None) -> None:
        with torch.inference_mode(False), torch.no_grad():
            if state is None:
                for buffer in self.buffers():
                    buffer.zero_()
                self.loaded = self.steps = 0
                return
            self.model.check_state(state)
            held = {layer.cache.keys.shape[1] for layer in state.layers}
            if len(held) != 1 or max(held) >= self.chunk:
                raise ValueError(f"state must hold the same open chunk in every layer, got {sorted(held)} tokens")
            self.loaded, self.steps = held.pop(), 0
            for layer, buffers in zip(state.layers, self.layers, strict=True):
                average = torch.view_as_real(layer.ema.resolve_conj())
                _fill("state", buffers[:5], (*layer.norm, average[..., 0], average[..., 1]))
                places = [buffer[:, :, : self.held] for buffer in (buffers.keys, buffers.values)]
                _fill("state", places, [part.transpose(1, 2) for part in layer.cache])
            _fill("state", self.norm, state.norm)
            self.place.fill_(self.held)

    def state(self) -> ModelState:
        def of(buffers: MegalodonBuffers) -> NormalizedAttentionState:
            norm = TimestepNormState(buffers.count.clone(), buffers.mean.clone(), buffers.var.clone())
            cache = [part[:, :, : self.held].transpose(1, 2).clone() for part in (buffers.keys, buffers.values)]
            return NormalizedAttentionState(norm, torch.complex(buffers.ema_r, buffers.ema_i), AttentionCache(*cache))

        return ModelState(tuple(map(of, self.layers)), TimestepNormState(*(part.clone() for part in self.norm)))


class TransformerDecoder(Decoder):
    """The Transformer's step, on buffers of `bucket` keys and values."""

    model: Transformer

    def __init__(self, model: Transformer, batch: int, graph: bool | None, compiled: bool, capacity: int):
        require_positive("capacity", capacity)
        self.model, self.bucket = model, capacity
        super().__init__(model, batch, graph, compiled)

    def build(self) -> None:
        config = self.model.config
        width = config.model_dim // config.num_heads
        shape = self.batch, config.kv_heads, self.bucket, width
        first: Any = self.model.layers[0]
        kind = first.attention.value.weight.dtype
        self.layers = [
            (torch.zeros(shape, dtype=kind, device=self.device), torch.zeros(shape, dtype=kind, device=self.device))
            for _ in self.model.layers
        ]
        self.place = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.column = torch.arange(self.bucket, device=self.device)
        self.width = width
        self.layer_step = torch.compile(_transformer_layer) if self.compiled else _transformer_layer

    def buffers(self) -> list[Tensor]:
        return [*(buffer for layer in self.layers for buffer in layer), self.place]

    @property
    def held(self) -> int:
        return self.loaded + self.steps

    def make_room(self) -> None:
        if self.held == self.bucket:
            self.load(self.state())

    def run(self) -> Logits:
        model = self.model
        x = model.embedded(self.tokens)
        hidden = self.column > self.place
        angle = angles(self.place, self.width, model.config.rope_base)
        cos, sin = angle.cos(), angle.sin()
        for block, (keys, values) in zip(model.layers, self.layers, strict=True):
            x = self.layer_step(block, x, keys, values, self.place, hidden, cos, sin)
        self.place.add_(1)
        return model.logits(model.final_norm(x))

    def load(self, state: ModelState | None) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self.model.check_state(state)
            held = 0 if state is None else state.layers[0].keys.shape[1]
            if held >= self.bucket:
                while self.bucket <= held:
                    self.bucket *= 2
                self.graph = self.logits = None
                self.build()
            self.loaded, self.steps = held, 0
            self.place.fill_(held)
            for layer, buffers in zip(() if state is None else state.layers, self.layers, strict=state is not None):
                _fill("state", [b[:, :, :held] for b in buffers], [part.transpose(1, 2) for part in layer])

    def state(self) -> ModelState:
        caches = (
            KVCache(*(part[:, :, : self.held].transpose(1, 2).clone() for part in buffers)) for buffers in self.layers
        )
        return ModelState(tuple(caches), None)


def memory_step(norm: TimestepNorm, x: Row, buffers: MegalodonBuffers, coefficients: Coefficients) -> tuple[Row, Row]:
    """Timestep Norm of x and CEMA of that, in place on the state: one launch where kernels run.

    torch.compile gets the torch face, which it merges itself.
    """
    statistics = TimestepNormState(*buffers[:3])
    if torch.compiler.is_compiling() or not uses_triton(norm.backend, x):
        normal = timestep_norm_step(norm, x, statistics)
        return normal, complex_ema_step(normal, coefficients, buffers.ema_r, buffers.ema_i)
    from megalodon_edu.kernels.decode_memory import memory_step_triton

    statistics.count.add_(1)
    averages = buffers.ema_r, buffers.ema_i
    return memory_step_triton(x, norm.weight, norm.bias, statistics, coefficients, averages, norm.eps)


def timestep_norm_step(norm: TimestepNorm, x: Row, state: TimestepNormState) -> Row:
    """`ops.timestep_norm.timestep_norm_reference` for one token, in place on the state."""
    count, mean, var = state
    features = x.to(mean.dtype).unflatten(1, (norm.groups, -1))
    token_var, token_mean = torch.var_mean(features, -1, correction=0)
    count.add_(1)
    c = 1 / count.to(mean.dtype)[:, None]
    difference = token_mean - mean
    mean.add_(c * difference)
    var.add_(c * (token_var + (1 - c) * difference**2 - var))
    normal = (features - mean[..., None]) * (var[..., None] + norm.eps).rsqrt()
    return (normal.flatten(1) * (norm.weight.to(mean.dtype) + 1) + norm.bias.to(mean.dtype)).to(x.dtype)


def complex_ema_step(x: Row, c: Coefficients, ema_r: Tensor, ema_i: Tensor) -> Row:
    """`ops.complex_ema.complex_ema_reference` for one token, in place on the state, in real numbers."""
    work = x.to(ema_r.dtype)
    new_r = c.q_r * ema_r - c.q_i * ema_i + c.p * work[..., None]
    new_i = c.q_r * ema_i + c.q_i * ema_r
    ema_r.copy_(new_r)
    ema_i.copy_(new_i)
    return ((c.eta_r * new_r - c.eta_i * new_i).sum(-1) + c.skip * work).to(x.dtype)


def attend(
    q: Float[Tensor, "batch head key"],
    keys: Float[Tensor, "batch kv_head capacity key"],
    values: Float[Tensor, "batch kv_head capacity value"],
    place: Int[Tensor, " one"],
    hidden: Tensor,
    scale: float,
    backend: str,
) -> Float[Tensor, "batch head_value"]:
    """softmax(scale · q kᵀ) v over the buffer up to `place`; `hidden` marks what lies beyond. Heads may share keys."""
    if uses_triton(backend, q):
        from megalodon_edu.kernels.decode_attention import decode_attention_triton

        return decode_attention_triton(q, keys, values, place, scale).flatten(1)
    work = working_dtype(q)
    q = q.unflatten(1, (keys.shape[1], -1))  # batch kv_head shared key
    logits = (q.to(work)[:, :, :, None] * keys.to(work)[:, :, None]).sum(-1) * scale  # batch kv_head shared capacity
    weights = logits.masked_fill(hidden, float("-inf")).softmax(-1).to(values.dtype)
    return (weights @ values).flatten(1)


def _megalodon_layer(
    block: Any,
    x: Row,
    buffers: MegalodonBuffers,
    coefficients: Coefficients,
    place: Int[Tensor, " one"],
    hidden: Tensor,
) -> Row:
    attention = block.attention
    normal, average = memory_step(attention.timenorm, x, buffers, coefficients)
    mx = attention.rmsnorm(average)
    q, k = attention.queries_and_keys_at(mx[:, None], place)
    v = F.silu(attention.wv(normal)).unflatten(1, (attention.num_heads, 1, -1))
    buffers.keys[:, :, place] = k.transpose(1, 2)
    buffers.values[:, :, place] = v
    o = attend(q[:, 0], buffers.keys, buffers.values, place, hidden, 1.0, attention.backend)
    update = attention.wh1(mx) + attention.wh2(o * F.silu(attention.wr(mx)))
    middle = x + update
    start = x if isinstance(block, TwoHopBlock) else middle
    return start + block.feed_forward(middle[:, None])[:, 0]


def _transformer_layer(
    block: Any, x: Row, keys: Tensor, values: Tensor, place: Tensor, hidden: Tensor, cos: Tensor, sin: Tensor
) -> Row:
    attention = block.attention
    n = attention.norm(x)
    q, k = (
        turn(product(n).unflatten(1, (1, -1, cos.shape[1] * 2)), cos, sin)[:, 0]
        for product in (attention.query, attention.key)
    )
    keys[:, :, place] = k[:, :, None]
    values[:, :, place] = attention.value(n).unflatten(1, (keys.shape[1], 1, -1))
    o = attend(q, keys, values, place, hidden, k.shape[-1] ** -0.5, attention.norm.backend)
    middle = x + attention.out(o)
    return middle + block.feed_forward(middle)


def _coefficients(block: Any, work: torch.dtype) -> Coefficients:
    alpha, delta, theta, eta, skip = block.attention.cema.coefficients()
    q = torch.polar(1 - alpha * delta, theta)
    return Coefficients(*(part.to(work).contiguous() for part in (q.real, q.imag, alpha, eta.real, eta.imag, skip)))


def _fill(name: str, buffers: Any, parts: Any) -> None:
    for buffer, part in zip(buffers, parts, strict=True):
        if buffer.shape != part.shape:
            raise ValueError(
                f"{name} must fit the decoder, got a part of the shape {tuple(part.shape)} for {tuple(buffer.shape)}; "
                "make the decoder for the same model and batch"
            )
        buffer.copy_(part)
