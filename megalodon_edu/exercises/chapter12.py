"""Chapter 12, train a small model on a GPU: what the checks look at and what they say."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.exercises.framework import Diagnosis, NotYet, exercise, kind_of
from megalodon_edu.exercises.fresh import generator, varied_number
from megalodon_edu.exercises.probes import expect_close, expect_number, expect_shape
from megalodon_edu.training.optimizer import learning_rate as package_rate
from megalodon_edu.training.options import TrainingOptions


@exercise(
    success="a straight rise, half a cosine, and the last step near the final share of the peak.",
    hints=[
        "Two factors, multiplied: the rise, which ends at 1, and the fall, which begins at 1.",
        "Steps are counted from 0. The first one must already learn: its rise is 1/warmup, that is "
        "`min(1, (step + 1) / warmup)`.",
        "Half a cosine from 1 down to 0 is (1 + cos(π · step / steps)) / 2.",
        "The fall ends at `final` instead of 0: `final + (1 - final) * half_cosine`.",
    ],
)
def learning_rate(answer: Any) -> None:
    """`learning_rate(step, steps, peak, warmup, final)`: the rate of step 0, 1, ..."""
    steps, peak, warmup, final = 50, varied_number(0.3), 8, 0.1
    found = torch.tensor(
        [expect_number(answer(step, steps, peak, warmup, final), "the learning rate") for step in range(steps)],
        dtype=torch.float64,
    )
    options = TrainingOptions(steps=steps, learning_rate=peak, warmup_steps=warmup, final_fraction=final)
    right = torch.tensor([package_rate(step, step / steps, options) for step in range(steps)], dtype=torch.float64)
    at = torch.arange(steps, dtype=torch.float64)
    rise = ((at + 1) / warmup).clamp(max=1)

    def half(angle: Tensor) -> Tensor:
        return (1 + torch.cos(angle)) / 2

    fall = half(math.pi * at / steps)
    late = half(math.pi * ((at - warmup) / (steps - warmup)).clamp(min=0))
    expect_close(found, right, "the rate", "step", mistakes={
        "the warm-up is missing: the first steps take the full rate.": peak * (final + (1 - final) * fall),
        "the first step has the rate 0 and learns nothing. Steps are counted from 0: use step + 1 in the rise.":
            peak * (at / warmup).clamp(max=1) * (final + (1 - final) * fall),
        "the rate falls to 0; it should end near `final` times the peak.": peak * rise * fall,
        "your cosine comes back up: half a period is π, a whole one 2π.":
            peak * rise * (final + (1 - final) * half(2 * math.pi * at / steps)),
        "`final` is added on top, so the rate goes above its peak. Blend: final + (1 - final) · half cosine.":
            peak * rise * (final + fall),
        "after the rise the rate stays where it is; the fall is missing.": peak * rise,
        "your cosine begins when the warm-up ends. Here it runs over all steps, also those of the warm-up.":
            peak * rise * (final + (1 - final) * late),
        "these are shares of the peak: multiply by `peak`.": rise * (final + (1 - final) * fall),
    })  # fmt: skip


@exercise(
    success="every window is as likely as every other, the last one too, and each holds the target of its last byte.",
    hints=[
        "A window of `length` inputs and their targets takes length + 1 tokens.",
        "How many places are there to begin? In `whales`, with length 3, there are 3: w, h, a.",
        "`torch.randint(0, places, (batch,), generator=generator)` draws 0 .. places - 1.",
        "`tokens[starts[:, None] + torch.arange(length + 1)]` cuts all windows at once.",
    ],
)
def windows(answer: Any) -> None:
    """`windows(tokens, batch, length, generator)`: random windows (batch, length + 1), each start equally likely."""
    base = int(torch.randint(10, 10_000, (), generator=generator(2)))
    tokens, length, batch = torch.arange(base, base + 10), 4, 6000
    places = len(tokens) - length

    def draw(seed: int) -> Any:
        return answer(tokens, batch, length, generator(seed))

    first = draw(0)
    if isinstance(first, Tensor) and first.shape == (batch, length):
        raise Diagnosis(
            f"your windows hold {length} tokens. One more is needed: the target of the last input is the token after "
            "it."
        )
    found = expect_shape(first, (batch, length + 1), "the windows", "batch time")
    if found.is_floating_point():
        raise Diagnosis("the windows should hold the tokens as they are, whole numbers; yours are floats.")
    steps = found.diff(dim=1)
    if not bool((steps == 1).all()):
        if bool(((steps == 1) | (steps == 1 - len(tokens))).all()):
            raise Diagnosis("some windows run over the end of the text and go on at its beginning: no text does that.")
        raise Diagnosis(f"a window should be a piece of the text as it stands; yours holds {found[0].tolist()}.")
    starts = found[:, 0] - base
    if len(starts.unique()) == 1:
        raise Diagnosis("all windows of a batch begin at the same place. Draw a start for each of them.")
    counts = torch.bincount(starts, minlength=places).tolist()
    if counts[-1] == 0 and min(counts[:-1]) > 0:
        raise Diagnosis(
            f"the last window is never drawn: in {batch} draws no window began at {places - 1}. `torch.randint` leaves "
            "its upper end out already."
        )
    if counts[0] == 0 and min(counts[1:]) > 0:
        raise Diagnosis("the first window is never drawn: no window begins at the first token.")
    if not any(count for place, count in enumerate(counts) if place % length):
        raise Diagnosis(
            f"your windows begin at multiples of {length} only, so a byte always has the same place in its window. "
            "Let them begin anywhere."
        )
    fair = batch / places
    if max(abs(count - fair) for count in counts) > 0.15 * fair:
        where = max(range(places), key=lambda place: abs(counts[place] - fair))
        raise Diagnosis(
            f"not every start is equally likely: of {batch} windows {counts[where]} began at {where}, about {fair:.0f} "
            "were expected."
        )
    if not torch.equal(draw(0), found):
        raise Diagnosis("the same generator state should give the same windows: pass `generator` on to torch.randint.")
    if torch.equal(draw(1), found):
        raise Diagnosis("another seed should give other windows; yours are always the same.")


@exercise(
    success="all bits over all bytes, whatever the length of a document.",
    hints=[
        "A document of n bytes comes as a tensor of n losses, each -ln p of one byte.",
        "From nats to bits: 1 nat is 1/ln 2 = 1.44 bits.",
        "Add up over all documents first: the sum of all losses, and the number of all bytes.",
        "`sum(one.sum() for one in losses) / math.log(2) / sum(len(one) for one in losses)`.",
    ],
)
def bits_per_byte(answer: Any) -> None:
    """`bits_per_byte(losses)`: the score of several documents, each a tensor of -ln p of its bytes."""
    draw = generator(0)
    losses = [3 * torch.rand(size, dtype=torch.float64, generator=draw) ** (size / 5) for size in (2, 50, 7)]
    value = expect_number(answer([one.clone() for one in losses]), "bits per byte")
    total, size = sum(one.sum().item() for one in losses), sum(map(len, losses))
    right = total / size / math.log(2)
    if math.isclose(value, right, rel_tol=1e-9):
        return
    means = sum(one.mean().item() for one in losses) / len(losses)
    mistakes = {
        "these are nats per byte. Divide by ln 2 to get bits.": total / size,
        "you multiply by ln 2. A nat is more than a bit, so there are more bits than nats: divide.":
            total / size * math.log(2),
        "a document of 2 bytes counts as much as one of 50: you take the mean of means. Every byte should weigh the "
        "same.": means / math.log(2),
        "that is the mean of means, and in nats.": means,
        "these are the bits of everything. Divide by the number of bytes.": total / math.log(2),
        "you divide by the number of documents; divide by the number of bytes.": total / math.log(2) / len(losses),
        "that is the perplexity, e to the mean loss. Bits per byte is its logarithm to base 2.": math.exp(total / size),
        "only the last document is counted.": losses[-1].mean().item() / math.log(2),
    }  # fmt: skip
    for sentence, wrong in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-9):
            raise Diagnosis(sentence)
    raise Diagnosis(f"for three documents of 2, 50 and 7 bytes it is {right:.4f}; yours says {value:.4f}.")


@exercise(
    success="the gradient is that of the whole batch, however unequal its parts.",
    hints=[
        "`loss_of(part)` is the mean over the windows of the part; you want the mean over the windows of the batch.",
        "A part of 3 windows out of 5 has the weight 3/5: `loss_of(part) * len(part) / len(batch)`.",
        "`torch.autograd.grad` of every part, added up, or `.backward()`, which adds to `.grad` by itself.",
        "With `.backward()`, set every `.grad` to None first: what an earlier step left there would be added to.",
    ],
)
def accumulate(answer: Any) -> None:
    """`accumulate(loss_of, weight, batch, parts)`: the gradient of the batch's mean loss by weight, part after part."""
    draw = generator(0)
    batch = torch.randn(7, 3, dtype=torch.float64, generator=draw)
    weight = torch.randn(3, dtype=torch.float64, generator=draw).requires_grad_()
    sizes: list[int] = []

    def loss_of(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return ((part @ leaf[0]) ** 3).mean()

    def gradient_of(part: Tensor) -> Tensor:
        return torch.autograd.grad(((part @ weight) ** 3).mean(), weight)[0]

    leaf = [weight]

    def run(parts: int, before: float | None = None) -> Tensor:
        own = weight.detach().clone().requires_grad_()
        if before is not None:
            own.grad = torch.full_like(own, before)
        leaf[0] = own
        sizes.clear()
        answer._require_signature((loss_of, own, batch, parts), {})
        result = answer.function(loss_of, own, batch.clone(), parts)
        if result is None or result is Ellipsis:
            raise NotYet("your function returns nothing. If you have written it, let it end with a `return`.")
        return expect_shape(result, (3,), "the gradient", "weight")

    right = gradient_of(batch)
    first = run(3).clone()
    pieces = batch.chunk(3)  # of 3, 3 and 1 windows
    each = [gradient_of(piece) for piece in pieces]
    together = sum(each, torch.zeros(3, dtype=torch.float64))
    if sizes and max(sizes) == len(batch):
        raise Diagnosis(
            "you gave the whole batch to loss_of at once. It was to be cut in parts because it does not fit in memory."
        )
    expect_close(first, right, "the gradient", "weight", mistakes={
        "the parts are added up without a weight: with three parts the gradient is about three times too long.":
            together,
        "every part has the weight 1/parts, but the last part here holds 1 window and the first 3. Weigh each by its "
        "share of the batch, len(part) / len(batch).": together / 3,
        "only the last part is there: something clears the gradient between the parts.": each[-1] / 7,
        "only the last part is there, without its weight.": each[-1],
        "the gradient is too short by the size of the batch: loss_of is a mean already.":
            together / 7,
    })  # fmt: skip
    if not torch.allclose(run(3, before=5.0), right):
        raise Diagnosis(
            "what an earlier step had left in `weight.grad` was added to the gradient. Set it to None at the beginning."
        )
    if not torch.allclose(run(1), right):
        raise Diagnosis("with one part the gradient should be that of the batch as it is.")


class _Counter(nn.Module):
    """A model with a state: what it has read before changes what it says. `loss` and `forward` as in the package."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(0.1 * torch.randn(6, 6, dtype=torch.float64, generator=generator(1)))
        self.modes: list[bool] = []

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.modes.append(self.training)
        before = torch.zeros((), dtype=torch.float64) if state is None else state
        read = before + tokens.double().mean(1, keepdim=True).mean()
        return self.table[tokens] * (1 + read), read.detach()


@exercise(
    success="each window starts from nothing, each step from its own gradient, and the update comes last.",
    hints=[
        "Compare two steps with the page of code at the top of the chapter, line by line.",
        "`.backward()` adds to what is in `.grad`. Who empties it?",
        "Windows are cut at random places. What has the end of one to do with the beginning of another?",
        "`optimizer.zero_grad()` before `backward`, and no state from one window to the next.",
    ],
)
def training_loop(answer: Any) -> None:
    """`training_loop(model, batches, rate)`: the losses of plain gradient descent, one step for each batch."""
    batches = torch.randint(0, 6, (5, 2, 4), generator=generator(0))
    model, rate = _Counter(), 0.3

    def reference(**faults: bool) -> tuple[list[float], Tensor]:
        return _descend(_Counter(), batches, rate, **faults)

    losses = answer(model, batches.clone(), rate)
    if not isinstance(losses, list) or len(losses) != len(batches):
        got = f"{len(losses)} things" if isinstance(losses, list) else kind_of(losses)
        raise Diagnosis(f"return a list with one loss for each of the {len(batches)} batches; yours returns {got}.")
    numbers = torch.tensor([expect_number(loss, "a loss") for loss in losses], dtype=torch.float64)
    if not all(model.modes):
        raise Diagnosis("the model is in evaluation mode while it learns: its dropout would be off.")
    right, table = reference()
    if torch.allclose(numbers, torch.tensor(right, dtype=torch.float64)) and torch.allclose(model.table, table):
        return
    idle, _ = reference(idle=True)
    if torch.allclose(numbers, torch.tensor(idle, dtype=torch.float64)):
        if model.table.grad is None or not model.table.grad.any():
            raise Diagnosis("nothing is learned: the gradient is emptied after `backward` and before the step.")
        raise Diagnosis("nothing is learned: the parameters are never changed. Call optimizer.step().")
    sentences: dict[str, Callable[[], tuple[list[float], Tensor]]] = {
        "the gradients pile up: step 2 still carries those of steps 0 and 1. `backward` adds to `.grad`, and nobody "
        "empties it.": lambda: reference(piled=True),
        "the gradients pile up, and one more thing is wrong: the state of a window goes on into the next, which was "
        "cut somewhere else.": lambda: reference(piled=True, leak=True),
        "the state leaks: a window starts with the memory of another, which was cut somewhere else.":
            lambda: reference(leak=True),
        "the loss is taken after the step, so it says how well the model knows a batch that it has just learned from.":
            lambda: reference(after=True),
        "the inputs are their own targets: the model learns to repeat the byte that it sees.":
            lambda: reference(same=True),
        "the step goes uphill: the gradient points to where the loss grows.": lambda: reference(uphill=True),
    }  # fmt: skip
    for sentence, make in sentences.items():
        wrong, wrong_table = make()
        if torch.allclose(numbers, torch.tensor(wrong, dtype=torch.float64)) and torch.allclose(
            model.table, wrong_table
        ):
            raise Diagnosis(sentence)
    differ = (~torch.isclose(numbers, torch.tensor(right, dtype=torch.float64))).nonzero().flatten().tolist()
    if not differ:
        raise Diagnosis("the losses are right, but the parameters at the end are not those of plain gradient descent.")
    first = differ[0]
    raise Diagnosis(f"the loss of step {first} should be {right[first]:.4f}; yours is {losses[first]:.4f}.")


def _descend(
    model: _Counter,
    batches: Tensor,
    rate: float,
    piled: bool = False,
    leak: bool = False,
    idle: bool = False,
    after: bool = False,
    same: bool = False,
    uphill: bool = False,
) -> tuple[list[float], Tensor]:
    """Plain gradient descent, with one or more of the mistakes that people make."""
    losses: list[float] = []
    state: Tensor | None = None
    for batch in batches:
        before = state if leak else None
        inputs, targets = batch[:, :-1], batch[:, :-1] if same else batch[:, 1:]
        logits, state = model(inputs, before)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if not piled:
            model.zero_grad()
        loss.backward()
        if not idle and model.table.grad is not None:
            with torch.no_grad():
                model.table.sub_((-rate if uphill else rate) * model.table.grad)
        if after:
            with torch.no_grad():
                logits, _ = model(inputs, before)
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        losses.append(loss.item())
    return losses, model.table.detach()
