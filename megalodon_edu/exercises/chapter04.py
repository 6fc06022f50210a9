"""Chapter 04, Timestep Norm: what the checks look at and what they say."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise, kind_of
from megalodon_edu.exercises.fresh import cases, varied
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)
from megalodon_edu.ops import timestep_norm as ops

GROUPS, EPS = 2, 0.1
Between = Callable[[float, Tensor], Tensor]


@exercise(
    success="cumulative, causal, and carried on from any state: this is Megalodon's norm.",
    hints=[
        "`x[:, t].unflatten(1, (groups, -1))` has the shape (batch, group, feature). Take its mean and its biased "
        "variance over the last dimension: `.var(-1, correction=0)`.",
        "Without a state start from count 0 and from zeros of the shape (batch, group) for mean and variance.",
        "Update first: `count += 1`, `c = 1 / count`, `d = group_mean - mean`, `mean = mean + c * d`, "
        "`var = var + c * (group_var + (1 - c) * d**2 - var)`.",
        "Then normalise with the new mean and variance, eps under the root, flatten, times `weight + 1`, plus `bias`.",
    ],
)
def timestep_norm(answer: Any) -> None:
    """`timestep_norm(x, weight, bias, groups, state=None, eps=1e-5)` returns y and (count, mean, var)."""
    x, weight, bias = 2 + signal(2, 12, 6), signal(1, 1, 6, seed=1)[0, 0], signal(1, 1, 6, seed=2)[0, 0]

    def run(x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = expect_pair(answer(x, weight, bias, GROUPS, state, EPS), "the outputs y and the last state")
        return expect_shape(y, tuple(x.shape)), _expect_state(state)

    y, state = run(x)
    expect_causal(lambda x: run(x)[0], x)
    right, last = ops.timestep_norm_reference(x, weight, bias, GROUPS, eps=EPS)
    normal = _normalise(x)
    expect_close(y, right, mistakes={
        "you multiply by the weight. The gain is weight + 1, so that a weight of 0 changes nothing.":
            normal * weight + bias,
        "the bias is missing.": normal * (weight + 1),
        "weight and bias are not used.": normal,
        "eps belongs under the root: sqrt(var + eps), not sqrt(var) + eps.":
            _normalise(x, root=lambda var: var.sqrt() + EPS) * (weight + 1) + bias,
        "your token is not yet in its own statistics: update mean and variance first, then normalise.":
            _normalise(x, late=True) * (weight + 1) + bias,
        "you took the unbiased variance of a token (torch's default). Divide by the number of features, "
        "with correction=0.": _normalise(x, correction=1) * (weight + 1) + bias,
        "you gather the variance of the group means and drop the variance inside each token. "
        "Both belong to it.": _normalise(x, inside=0.0) * (weight + 1) + bias,
        "the variance inside each token is there, but how much the group means differ is missing: "
        "(1 - c) times the squared difference.": _normalise(x, between=lambda c, d: 0 * d) * (weight + 1) + bias,
        "in the variance, the squared difference counts with the factor (1 - c), not with 1.":
            _normalise(x, between=lambda c, d: d**2) * (weight + 1) + bias,
        "each token is normalised by its own statistics alone; nothing is gathered over time.":
            _normalise(x, gather=False) * (weight + 1) + bias,
        "all features share one mean and one variance; each group of features has its own.":
            ops.timestep_norm_reference(x, weight, bias, 1, eps=EPS)[0],
        "your groups take every second feature. The first group is the first half of the features.":
            _interleaved(x) * (weight + 1) + bias,
    })  # fmt: skip
    _expect_numbers(state, last)
    expect_streams(run, x)
    _expect_no_cancellation(answer, weight, bias)


def _expect_state(state: Any) -> tuple[Any, Tensor, Tensor]:
    if not isinstance(state, tuple) or len(state) != 3:
        raise Diagnosis(f"the state is three things, (count, mean, var); yours is {kind_of(state)}.")
    count, mean, var = state
    for name, value in (("mean", mean), ("var", var)):
        expect_shape(value, (2, GROUPS), f"the state's {name}", "batch group")
    return count, mean, var


def _expect_numbers(state: tuple[Any, Tensor, Tensor], last: ops.TimestepNormState) -> None:
    count, mean, var = state
    seen = expect_number(count if not isinstance(count, Tensor) else count.flatten()[0], "the state's count")
    if seen != 12:
        raise Diagnosis(f"after 12 tokens the state's count should be 12, yours is {seen:g}.")
    expect_close(mean, last.mean, "the state's mean", "batch group")
    expect_close(var, last.var, "the state's var", "batch group", mistakes={
        "the state should hold the variance, yours holds its root.": last.var.sqrt(),
        "the state should hold the variance, yours has eps added. Over many calls that would pile up.": last.var + EPS,
    })  # fmt: skip


def _expect_no_cancellation(answer: Any, weight: Tensor, bias: Tensor) -> None:
    """Values near 1000 in float32: a difference of squares has no digits left."""
    x = (1000 + signal(2, 60, 6)).float()
    truth, _ = ops.timestep_norm_reference(x.double(), weight, bias, GROUPS)
    y, _ = answer(x, weight.float(), bias.float(), GROUPS)
    worst = (y.double() - truth).abs().max().item()
    if not worst < 0.05:
        raise Diagnosis(
            f"in float64 all is well, but with values near 1000 in float32 your y is off by {worst:.2g}. A mean of "
            "squares minus a squared mean leaves no digits there: gather differences from the mean instead."
        )


def _normalise(
    x: Tensor,
    correction: int = 0,
    inside: float = 1.0,
    between: Between = lambda c, d: (1 - c) * d**2,
    root: Callable[[Tensor], Tensor] = lambda var: (var + EPS).sqrt(),
    late: bool = False,
    gather: bool = True,
) -> Tensor:
    """Timestep Norm without weight and bias, and with places to go wrong."""
    mean = var = torch.zeros(x.shape[0], GROUPS, dtype=x.dtype)
    y = []
    for t, x_t in enumerate(x.unbind(1)):
        features = x_t.unflatten(1, (GROUPS, -1))
        before = mean, var
        c = 1 / (t + 1) if gather else 1.0
        d = features.mean(-1) - mean
        mean = mean + c * d
        var = var + c * (inside * features.var(-1, correction=correction) + between(c, d) - var)
        used = before if late else (mean, var)
        y.append(((features - used[0][..., None]) / root(used[1])[..., None]).flatten(1))
    return torch.stack(y, 1)


def _interleaved(x: Tensor) -> Tensor:
    """The same with groups of every GROUPS-th feature."""
    order = torch.arange(x.shape[2]).unflatten(0, (-1, GROUPS)).T.flatten()
    return _normalise(x[..., order])[..., order.argsort()]


@exercise(
    success="two spans become one, and no token had to be read again.",
    hints=[
        "The counts add. Call the second span's share `share = n2 / (n1 + n2)`.",
        "The new mean lies between the two: `mean1 + share * (mean2 - mean1)`.",
        "The new variance has two parts: the average of the two variances, weighted by the counts, and how far the "
        "two means are apart.",
        "The second part is `share * (1 - share) * (mean2 - mean1) ** 2`.",
    ],
)
def merge(answer: Any) -> None:
    """`merge(first, second)` takes and returns (count, mean, var) of a span of numbers."""
    values = varied(torch.tensor([4.0, 0.0, 1.0, 7.0, 3.0, 3.0, 2.0, 9.0, -2.0], dtype=torch.float64))
    for cut, name in ((3, "of 3 and 6 numbers"), (1, "of 1 and 8 numbers"), (7, "of 7 and 2 numbers")):
        _check_merge(answer, _span(values[:cut]), _span(values[cut:]), _span(values), f"for spans {name}, ")
    empty = (0, 0.0, 0.0)
    _check_merge(answer, empty, _span(values), _span(values), "with an empty first span, ")
    _check_merge(answer, _span(values), empty, _span(values), "with an empty second span, ")


def _span(values: Tensor) -> tuple[int, float, float]:
    return len(values), values.mean().item(), values.var(correction=0).item()


def _check_merge(
    answer: Any, first: tuple[int, float, float], second: tuple[int, float, float], both: Any, where: str
) -> None:
    result = answer(first, second)
    if not isinstance(result, tuple) or len(result) != 3:
        raise Diagnosis(f"return three things, (count, mean, var); yours returns {kind_of(result)}.")
    count, mean, var = (
        expect_number(value, name) for value, name in zip(result, ("count", "mean", "var"), strict=True)
    )
    share = second[0] / both[0]
    difference = second[1] - first[1]
    inside = (1 - share) * first[2] + share * second[2]
    if count != both[0]:
        raise Diagnosis(f"{where}the count should be {both[0]}, yours is {count:g}.")
    _expect_value(where + "the mean", mean, both[1], {
        "is the plain average of the two means. The longer span weighs more.": (first[1] + second[1]) / 2,
        "has the two weights swapped: each span weighs by its own count.": first[1] + (1 - share) * difference,
    })  # fmt: skip
    _expect_value(where + "the variance", var, both[2], {
        "is the average of the two variances. How far the two means are apart is missing.": inside,
        "has the distance of the means with the wrong factor: it counts with share · (1 - share).":
            inside + share * difference**2,
        "has the distance of the means with its full square: it counts with share · (1 - share).":
            inside + difference**2,
        "has the distance of the means, but not squared.": inside + share * (1 - share) * difference,
        "is that of the two means alone: the variances inside the spans are missing.":
            share * (1 - share) * difference**2,
        "is the plain average of the two variances; the longer span weighs more.":
            (first[2] + second[2]) / 2 + share * (1 - share) * difference**2,
    })  # fmt: skip


def _expect_value(what: str, value: float, expected: float, mistakes: dict[str, float]) -> None:
    if math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9):
        return
    for sentence, wrong in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-9, abs_tol=1e-9):
            raise Diagnosis(f"{what} {sentence}")
    raise Diagnosis(f"{what} should be {expected:.4g}, yours is {value:.4g}.")


class Span(NamedTuple):
    """The tokens first..last, and how many merges in a row it took to get here."""

    first: int
    last: int
    rounds: int

    def __repr__(self) -> str:
        return f"token {self.first}" if self.first == self.last else f"tokens {self.first} to {self.last}"


@exercise(
    success="every prefix, and the longest chain of merges is only log2 of the length.",
    hints=[
        "In round 1, merge each item with its left neighbour. Now entry t holds the items t - 1 and t.",
        "In round 2, merge each entry with the one two places to its left, in round 3 four places: the reach doubles.",
        "An entry with no partner so far to the left is finished; it stays as it is.",
        "Build a new list in every round: `[merge(items[t - reach], items[t]) if t >= reach else items[t] for t in "
        "range(len(items))]`, and then `reach *= 2`.",
    ],
)
def prefixes(answer: Any) -> None:
    """`prefixes(items, merge)` returns the list of items[0] merged up to items[t], for every t."""
    for length in cases((1, 2, 8, 13), lambda numbers: numbers.randint(3, 40)):
        items = [Span(token, token, 0) for token in range(length)]
        found = answer(list(items), _join)
        if not isinstance(found, list | tuple) or len(found) != length:
            got = f"{len(found)} entries" if isinstance(found, list | tuple) else kind_of(found)
            raise Diagnosis(f"return a list with one entry for each of the {length} items, yours has {got}.")
        for t, entry in enumerate(found):
            if not isinstance(entry, Span):
                raise Diagnosis(f"entry {t} should be an item or a result of merge, yours is {kind_of(entry)}.")
            if (entry.first, entry.last) != (0, t):
                raise Diagnosis(f"of {length} items, entry {t} should cover tokens 0 to {t}; yours covers {entry}.")
        most, allowed = max(entry.rounds for entry in found), math.ceil(math.log2(length))
        if most > allowed:
            raise Diagnosis(
                f"the entries are right, but one of {length} items needs {most} merges one after the other, which is "
                f"the loop again. {allowed} are enough: let the reach double in every round."
            )


def _join(first: Any, second: Any) -> Span:
    """Merge two spans that are neighbours, the earlier one first."""
    for value in (first, second):
        if not isinstance(value, Span):
            raise Diagnosis(f"merge got {kind_of(value)}; give it two items, or results of merge.")
    if second.last < first.first:
        raise Diagnosis(f"merge got {first} before {second}: the earlier span comes first.")
    if second.first <= first.last:
        raise Diagnosis(f"merge got {first} and {second}: they overlap, and tokens would count twice.")
    if second.first > first.last + 1:
        raise Diagnosis(f"merge got {first} and {second}: there is a gap between them.")
    return Span(first.first, second.last, max(first.rounds, second.rounds) + 1)


@exercise(
    success="the bug is gone: features in groups, time in order.",
    hints=[
        "Let x be one sequence of four tokens with two features, and print what `features` looks like. Which token "
        "does each row come from?",
        "`view` never moves a number. It reads the same list of numbers with other line breaks.",
        "A token's features lie side by side, so the channels can be split in place: (batch, time, group, width).",
        "`x.view(batch, time, groups, -1).transpose(1, 2)` puts the group before the time. On the way back, "
        "transpose first, then reshape.",
    ],
)
def timestep_norm_port(answer: Any) -> None:
    """The repaired `timestep_norm_port(x, groups, eps=1e-5)` returns y."""
    x = 2 + signal(2, 12, 6)
    y = expect_shape(answer(x, GROUPS, EPS), tuple(x.shape))
    right = _normalise(x)
    expect_close(y, right, mistakes={
        "your groups are still pieces of time: with 2 groups, token 6 starts afresh, and the features of both groups "
        "are thrown together. A view moves nothing. Split the channels, then transpose.": _viewed(x),
        "the statistics are right, but on the way back the numbers land in other places: transpose before you "
        "reshape.": right.unflatten(2, (GROUPS, -1)).transpose(1, 2).reshape(x.shape),
        "your groups take every second feature; a group is a run of neighbouring features.": _interleaved(x),
        "you transposed the width instead of the group: now the statistics are gathered per place in the group.":
            _every_place(x),
    })  # fmt: skip
    expect_causal(lambda x: answer(x, GROUPS, EPS), x)
    for groups in (1, 3):
        found = expect_shape(answer(x, groups, EPS), tuple(x.shape), f"y with {groups} groups")
        zeros = torch.zeros(6, dtype=torch.float64)
        expected, _ = ops.timestep_norm_reference(x, zeros, zeros, groups, eps=EPS)
        expect_close(found, expected, f"y with {groups} groups")


def _viewed(x: Tensor) -> Tensor:
    """What the port computes: a view into (batch, group, time, width) without a transpose."""
    pieces = x.view(x.shape[0], GROUPS, x.shape[1], -1)
    return torch.stack([_normalise_one(piece) for piece in pieces.unbind(1)], 1).view(x.shape)


def _every_place(x: Tensor) -> Tensor:
    """Statistics over the groups, one for each place in a group."""
    places = x.unflatten(2, (GROUPS, -1)).transpose(2, 3)
    return torch.stack([_normalise_one(piece) for piece in places.unbind(2)], 2).transpose(2, 3).flatten(2)


def _normalise_one(x: Tensor) -> Tensor:
    zeros = torch.zeros(x.shape[2], dtype=x.dtype)
    return ops.timestep_norm_reference(x, zeros, zeros, 1, eps=EPS)[0]
