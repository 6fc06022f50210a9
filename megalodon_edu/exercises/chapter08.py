"""Chapter 08, Megalodon assembled: what the checks look at and what they say."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases, generator
from megalodon_edu.exercises.probes import expect_close, expect_number, expect_pair, expect_shape, signal
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.ops.ema import ema_reference


@exercise(
    success="the mean of these numbers is bits per byte, the score of every model in this course.",
    hints=[
        "`logits.log_softmax(-1)` holds the natural logarithm of every probability.",
        "Row t of the logits was computed from tokens 0 .. t. Which token does it predict?",
        "Leave out the last row, which predicts a token that is not there, and the first token: nothing predicts it.",
        "`log_p.gather(1, tokens[1:, None])[:, 0]` picks one number of each row. Natural logarithms are turned into "
        "bits by dividing by `math.log(2)`, and a surprise is positive.",
    ],
)
def surprise(answer: Any) -> None:
    """`surprise(logits, tokens)`: bits of tokens 1 .. time - 1, each given those before it, (time - 1)."""
    draw = generator(0)
    logits = 2 * torch.randn(9, 5, generator=draw, dtype=torch.float64)
    tokens = torch.randint(5, (9,), generator=draw)
    result = answer(logits, tokens)
    if isinstance(result, Tensor) and result.ndim == 0:
        raise Diagnosis("you return one number. What is asked for is one for each token; their mean comes later.")
    if isinstance(result, Tensor) and tuple(result.shape) == (9,):
        raise Diagnosis(
            "you return 9 numbers for 9 tokens. Nothing predicts the first token, so there are 8: leave out the last "
            "row of logits and the first token."
        )
    bits = expect_shape(result, (8,), "the surprises", "time")
    nats = F.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    same_place = F.cross_entropy(logits[:-1], tokens[:-1], reduction="none")
    expect_close(bits, nats / math.log(2), "the surprises", "time", mistakes={
        "these are nats, from natural logarithms. Bits are logarithms to the base 2: divide by ln 2.": nats,
        "you multiply by ln 2. A nat is 1.44 bits, so the numbers must grow: divide.": nats * math.log(2),
        "the sign: a probability below 1 has a negative logarithm, and a surprise is minus that.": -nats / math.log(2),
        "these are probabilities. A surprise is minus their logarithm.": (-nats).exp(),
        "row t of the logits is compared with token t, which the model had just read. It predicts token t + 1.":
            same_place / math.log(2),
        "logits are not yet logarithms of probabilities: they lack the softmax.":
            -logits[:-1].gather(1, tokens[1:, None])[:, 0] / math.log(2),
    })  # fmt: skip


def _sizes(**changes: Any) -> MegalodonConfig:
    small = MegalodonConfig(
        num_layers=3,
        model_dim=24,
        ffn_hidden_dim=40,
        num_heads=2,
        vocab_size=101,
        z_dim=20,
        value_dim=56,
        cema_ndim=5,
        chunk_size=16,
        norm_num_groups=4,
    )
    return replace(small, **changes)


@exercise(
    success="you know where every parameter of a Megalodon is, of seven billion as of three million.",
    hints=[
        "Write down the parts of one layer from the list of tensors above, add them up, and multiply by the layers.",
        "A product from A to B features has A·B weights and, where it has a bias, B more. W_h2 and the feed-forward "
        "have none.",
        "CEMA: alpha and delta one number a mode, gamma two (real and imaginary), theta and omega one a channel.",
        "Outside the layers: the embedding, the final norm with two numbers a feature, and a head of its own unless "
        "`share_emb`.",
    ],
)
def count_parameters(answer: Any) -> None:
    """`count_parameters(config)`: parameters of `Megalodon(config)`."""
    known = (
        (_sizes(), "a plain model"),
        (_sizes(swiglu=True), "with SwiGLU"),
        (_sizes(share_emb=True), "with share_emb"),
        (_sizes(rescale_nffn=True), "with rescale_nffn"),
        (MegalodonConfig.preset("7.3B"), "for the preset 7.3B"),
    )
    for config, what in cases(known, lambda numbers: (_some_sizes(numbers), "with other sizes")):
        _expect_count(answer, config, what)


def _some_sizes(numbers: Random) -> MegalodonConfig:
    width = 8 * numbers.randint(2, 20)
    return _sizes(
        num_layers=numbers.randint(1, 9), model_dim=width, ffn_hidden_dim=width + numbers.randint(1, 99),
        vocab_size=numbers.randint(50, 999), z_dim=4 * numbers.randint(3, 30), value_dim=4 * numbers.randint(4, 60),
        cema_ndim=numbers.randint(2, 20), swiglu=numbers.random() < 0.5, share_emb=numbers.random() < 0.5,
        rescale_nffn=numbers.random() < 0.5,
    )  # fmt: skip


def _expect_count(answer: Any, config: MegalodonConfig, what: str) -> None:
    with torch.device("meta"):
        right = Megalodon(config).parameter_count()
    difference = expect_number(answer(config), "the count") - right
    if difference == 0:
        return
    c = config
    layers, width, z, value, modes = c.num_layers, c.model_dim, c.z_dim, c.value_dim, c.cema_ndim
    third, table = width * c.ffn_hidden_dim, c.vocab_size * width
    known = {
        -table: "the head is missing: a second table, vocabulary × width.",
        -2 * table: "embedding and head are missing, two tables of vocabulary × width.",
        table: "the head is counted, but here it is the embedding itself.",
        -layers * third: "the feed-forward has a third product here, fc3, which you leave out.",
        layers * third: "you count three products in the feed-forward; the third, fc3, is there with SwiGLU only.",
        -layers * (2 * value + z + width): "the biases of W_v, W_r, W_z and W_h1 are missing.",
        layers * width: "you give W_h2 a bias, or some vector of `model_dim` numbers a layer that is not there. It "
        "has none: the bias of W_h1 does for both.",
        -4 * layers * z: "κ and μ are missing: gamma and beta, two rows of z_dim numbers each.",
        -2 * layers * z: "of κ and μ you count one row each, but queries and keys have their own.",
        layers * (width + 1) * z: "you count one product for the queries and one for the keys. They share z.",
        -layers * width * modes: "gamma of CEMA is complex: it holds two numbers for each mode.",
        layers * width * (modes - 1): "theta of CEMA is one number a channel; the modes' angles are its multiples.",
        -layers * width: "in each layer `model_dim` numbers are missing. With rescale_nffn the feed-forward has an "
        "alpha." if c.rescale_nffn else "in each layer `model_dim` numbers are missing: CEMA's omega or the gain of "
        "the RMSNorm, perhaps.",
        -2 * layers * width: "in each layer a norm is missing: Timestep Norm and LayerNorm have a gain and a bias.",
        -2 * width: "the final norm is missing.",
        width: "something outside the layers is too many. The head has no bias, the final norm has gain and bias.",
    }  # fmt: skip
    if layers * right == right + difference:
        raise Diagnosis(f"{what}, everything is multiplied by the layers, the embedding too.")
    sentence = known.get(int(difference), f"you are {abs(difference):,.0f} too {'high' if difference > 0 else 'low'}.")
    raise Diagnosis(f"{what}: {sentence}")


@exercise(
    success="that is the whole memory of one layer. Nothing in it counts the tokens that are gone.",
    hints=[
        "How many tokens does the open chunk hold after `tokens` tokens? At an edge it holds none.",
        "Keys are z_dim wide, values value_dim; each number takes `number_bytes`.",
        "CEMA keeps cema_ndim complex numbers for each of model_dim channels; a complex64 is two float32.",
        "The norm keeps one count in int64, and a mean and a variance for each group in float32.",
    ],
)
def layer_bytes(answer: Any) -> None:
    """`layer_bytes(config, tokens, number_bytes)`: bytes of one layer's state."""
    known = tuple((_sizes(), tokens, width) for tokens, width in ((5, 4), (5, 2), (21, 4), (32, 4)))
    other = cases(known, lambda numbers: (_some_sizes(numbers), numbers.randint(1, 99), numbers.choice((2, 4))))
    for config, tokens, width in other:
        z, value, chunk = config.z_dim, config.value_dim, config.chunk_size
        average, norm = config.model_dim * config.cema_ndim * 8, 8 + 8 * config.norm_num_groups
        held = tokens % chunk
        right = held * (z + value) * width + average + norm
        found = expect_number(answer(config, tokens, width), "the number of bytes")
        asked = f"after {tokens} tokens, {width} bytes a number,"
        mistakes = {
            "the count n of the norm is missing: one int64, 8 bytes.": right - 8,
            "the norm is missing: a count, and a mean and a variance per group.": right - norm,
            "CEMA's h is missing.": right - average,
            "only keys and values are kept in the short format. CEMA's h stays complex64.":
                right - average + average * width // 4,
            "CEMA's h is complex: two float32, 8 bytes for each mode.": right - average // 2,
            "keys are z_dim wide and values value_dim: count both.": right - held * value * width,
            "values are wider than keys: value_dim, not z_dim.": right - held * (value - z) * width,
            "your cache goes on growing. At the end of a chunk keys and values are dropped.":
                right + (tokens - held) * (z + value) * width,
            "at an edge the open chunk holds no token yet; a full chunk is never kept.":
                right + (chunk if held == 0 else 0) * (z + value) * width,
            "your cache stays full. At the end of a chunk it is emptied and starts again.":
                right + (min(tokens, chunk) - held) * (z + value) * width,
            "this is the sum over all layers. One is asked for.": right * config.num_layers,
        }  # fmt: skip
        for sentence, wrong in mistakes.items():
            if found == wrong != right:
                raise Diagnosis(f"{asked} {sentence}")
        if found != right:
            raise Diagnosis(f"{asked} one layer keeps {right:,} bytes, yours says {found:,.0f}.")


class Echo:
    """A stand-in for a model: its state is every token it was given, and the next token depends on all of them."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.started = 0

    def __call__(self, tokens: Any, state: tuple[int, ...] | None = None) -> tuple[Tensor, tuple[int, ...]]:
        """Logits (1, time, 11) and the state."""
        if not isinstance(tokens, Tensor) or tokens.ndim != 2 or len(tokens) != 1:
            got = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
            raise Diagnosis(f"the model wants tokens of the shape (1, time); you handed it {got}.")
        if tokens.shape[1] == 0:
            raise Diagnosis("you called the model with no token at all.")
        self.started += state is None
        seen = () if state is None else state
        rows = []
        for token in tokens[0].tolist():
            self.read.append(token)
            seen = (*seen, token)
            rows.append(F.one_hot(torch.tensor(_next(seen)), 11))
        return torch.stack(rows)[None].double(), seen


def _next(seen: tuple[int, ...]) -> int:
    """The token that follows: it hears the order, and whether a token came twice."""
    return sum((place + 2) * (token + 1) ** 2 for place, token in enumerate(seen)) % 11


def _written(prompt: tuple[int, ...], count: int, first: Callable[[tuple[int, ...]], tuple[int, ...]]) -> list[int]:
    """What comes out when the state before each new token is `first` of the prompt and what has been fed."""
    text: tuple[int, ...] = prompt
    for _ in range(count):
        text = (*text, _next(first(text)))
    return list(text[len(prompt) :])


@exercise(
    success="the prompt is read once, and every new token costs one step, however long the text.",
    hints=[
        "The first call reads the whole prompt, with the state None. Its last row of logits predicts the first token.",
        "Every later call gets the newest token alone, shape (1, 1), and the state of the call before.",
        "`logits[0, -1].argmax()` is the likeliest next token.",
        "`step = token.view(1, 1)` after each; collect the tokens in a list and `torch.stack` them.",
    ],
)
def write(answer: Any) -> None:
    """`write(model, prompt, count)`: the `count` likeliest tokens after prompt (time,), one step each, (count)."""
    known: list[tuple[int, ...]] = [(3, 1, 4, 1, 5)]
    for prompt in cases(known, lambda numbers: tuple(numbers.randint(0, 10) for _ in range(5))):
        _check_written(answer, prompt, 6)


def _check_written(answer: Any, prompt: tuple[int, ...], count: int) -> None:
    model = Echo()
    result = answer(model, torch.tensor(prompt), count)
    if isinstance(result, list):
        raise Diagnosis("return one tensor (count), not a list: `torch.stack` or `torch.tensor` makes one of it.")
    if isinstance(result, Tensor) and tuple(result.shape) == (len(prompt) + count,):
        raise Diagnosis("you return the prompt too. Only what is new is asked for.")
    right = torch.tensor(_written(prompt, count, lambda text: text))
    found = expect_shape(result, (count,), "the new tokens", "time")
    twice = torch.tensor(_written(prompt, count, lambda text: (*prompt, *text[len(prompt) - 1 :])))
    if torch.equal(found, twice) and not torch.equal(found, right):
        raise Diagnosis(
            "the prompt's last token goes in twice: once with the prompt, and once more as the first step. The state "
            "has seen it already; its logits are the last row of the first call."
        )
    if torch.equal(found, right) and len(model.read) > len(prompt) + count:
        raise Diagnosis(
            f"the text is right, but the model read {len(model.read)} tokens for it instead of "
            f"{len(prompt) + count - 1}: you start from the beginning for every token. The state knows the beginning."
        )
    if not torch.equal(found, right):
        if model.started > 1 and len(model.read) <= len(prompt) + count:
            raise Diagnosis("after the prompt you call the model without its state: it has forgotten what it read.")
        if len(model.read) > len(prompt) + count:
            raise Diagnosis(
                "you hand over the state and the whole text again, so the model hears every token more than once. "
                "With a state, feed only what is new."
            )
        first = int(found[0])
        if first == _next(prompt[:1]):
            raise Diagnosis("you look at the first row of logits. The last one has seen the whole prompt.")
        where = int((found != right).nonzero()[0])
        raise Diagnosis(f"new token {where} should be {int(right[where])}, yours is {int(found[where])}.")


@exercise(
    success="the bug is gone: every layer has a past of its own, on the first call too.",
    hints=[
        "Run it with one layer, then with two. Which of the two is right?",
        "Run two layers with states from an earlier call. Is that right?",
        "On the first call, what is `state` when layer 1 is called?",
        "Set `state = None` inside the loop, or write `state = None if states is None else states[number]`.",
    ],
)
def run_stack(answer: Any) -> None:
    """The repaired `run_stack(x, layers, states=None)`: the output, and a list with one state per layer."""
    x = signal()
    layers = [_memory(share) for share in (0.5, 0.2, 0.7)]
    for count in (1, 2, 3):
        some = layers[:count]
        expected, ends = _stack(x, some, [None] * count)
        y, states = expect_pair(answer(x, some), "the output and the list of states")
        y = expect_shape(y, tuple(x.shape), "the output")
        stolen = _stolen(x, some)
        expect_close(y, expected, f"on the first call with {count} layers, the output", mistakes={
            "one layer is right; with two, on the first call, layer 1 takes the state that layer 0 has just left for "
            "its own past. On a first call no layer has a past.": stolen,
        } if count > 1 else None)  # fmt: skip
        if not isinstance(states, list | tuple) or len(states) != count:
            raise Diagnosis(f"with {count} layers the second thing you return should be a list of {count} states.")
        for number, (state, end) in enumerate(zip(states, ends, strict=True)):
            what = f"with {count} layers, the state of layer {number}"
            expect_close(expect_shape(state, tuple(end.shape), what, "batch channel"), end, what, "batch channel")
    _, middle = _stack(x[:, :5], layers, [None] * 3)
    later, _ = expect_pair(answer(x[:, 5:], layers, list(middle)), "the output and the list of states")
    right, _ = _stack(x[:, 5:], layers, middle)
    expect_close(later, right, "with states from an earlier call, the output", mistakes={
        "every layer gets the state of layer 0. Each has its own: states[number].":
            _stack(x[:, 5:], layers, [middle[0]] * 3)[0],
        "the states that come in are not used.": _stack(x[:, 5:], layers, [None] * 3)[0],
    })  # fmt: skip


def _memory(share: float) -> Callable[[Tensor, Any], tuple[Tensor, Tensor]]:
    def layer(x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        y, state = ema_reference(x, torch.full((x.shape[2],), share, dtype=x.dtype), state)
        return x + y, state

    return layer


def _stack(x: Tensor, layers: list[Any], states: list[Any]) -> tuple[Tensor, list[Tensor]]:
    after = []
    for layer, state in zip(layers, states, strict=True):
        x, state = layer(x, state)
        after.append(state)
    return x, after


def _stolen(x: Tensor, layers: list[Any]) -> Tensor:
    """Each layer starts from the state that the one before has just left."""
    state = None
    for layer in layers:
        x, state = layer(x, state)
    return x
