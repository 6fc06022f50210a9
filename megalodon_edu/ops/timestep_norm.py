"""Timestep Norm: group normalisation whose statistics gather over time and never see the future.

    μ_t = 1/(n d) Σ_{i≤t} Σ_j x_{i,j}          σ²_t = 1/(n d) Σ_{i≤t} Σ_j (x_{i,j} - μ_t)²          n = t + 1
    y_t = (x_t - μ_t) / sqrt(σ²_t + eps) · (weight + 1) + bias

Megalodon (arXiv:2404.08801), Eq 4 and Appendix B. Groups are groups of features, d features each; the sums run over
the features of one group. Token t is in its own statistics.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from megalodon_edu.arguments import (
    require_above_zero,
    require_device_of,
    require_divisor,
    require_floating,
    require_integers,
    require_state,
    require_tensor,
)
from megalodon_edu.ops.recurrence import check_sequence, working_dtype

Sequence = Float[Tensor, "batch time channel"]
Padding = Bool[Tensor, "batch time"]


class TimestepNormState(NamedTuple):
    """What is known of the past: tokens seen (int64), their mean and their biased variance (at least float32).

    Float32 holds a mean near 1000 in steps of 6e-5. After some 30,000 tokens a step of a single token is smaller, and
    rounds away: the mean stands still, where a call over many tokens still moves it.
    """

    count: Int[Tensor, " batch"]  # type: ignore[assignment]  # hides tuple.count
    mean: Float[Tensor, "batch group"]
    var: Float[Tensor, "batch group"]


def timestep_norm_reference(
    x: Sequence,
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    groups: int,
    state: TimestepNormState | None = None,
    padding_mask: Padding | None = None,
    eps: float = 1e-5,
) -> tuple[Sequence, TimestepNormState]:
    """One token at a time (Welford's update for a whole group of features).

    padding_mask is True at padding: the output is 0 there and the state stands still.
    Raises TypeError or ValueError for wrong shapes, groups that do not divide the channels and a state that does not
    fit x.
    """
    (count, mean, var), padding_mask = check_arguments(x, weight, bias, groups, state, padding_mask, eps)
    work = mean.dtype
    y = []
    for x_t, padded in zip(x.to(work).unbind(1), padding_mask.unbind(1), strict=True):
        features = x_t.masked_fill(padded[:, None], 0).unflatten(1, (groups, -1))
        group_mean = features.mean(-1)
        group_var = features.var(-1, correction=0)
        count = count + ~padded
        c = (~padded).to(work)[:, None] / count.clamp(min=1).to(work)[:, None]
        difference = group_mean - mean
        mean = mean + c * difference
        var = var + c * (group_var + (1 - c) * difference**2 - var)
        normal = (features - mean[..., None]) / (var[..., None] + eps).sqrt()
        y.append((normal.flatten(1) * (weight.to(work) + 1) + bias.to(work)).masked_fill(padded[:, None], 0))
    return torch.stack(y, 1).to(x.dtype), TimestepNormState(count, mean, var)


def timestep_norm_parallel(
    x: Sequence,
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    groups: int,
    state: TimestepNormState | None = None,
    padding_mask: Padding | None = None,
    eps: float = 1e-5,
) -> tuple[Sequence, TimestepNormState]:
    """The same for all tokens at once: a prefix "sum" of spans under Chan's merge. Arguments and errors as above.

    No sum of squares is ever formed, so a mean far from zero cancels nothing. Values are taken relative to the first
    token, which makes the differences exact in float32 and changes nothing else.
    """
    state, padding_mask = check_arguments(x, weight, bias, groups, state, padding_mask, eps)
    work = state.mean.dtype
    features = x.to(work).masked_fill(padding_mask[..., None], 0).unflatten(2, (groups, -1))
    origin = _first_token_mean(features, padding_mask)
    features = features - origin[:, None, :, None]
    tokens = TimestepNormState((~padding_mask).long(), features.mean(-1), features.var(-1, correction=0))
    nothing_seen = (state.count == 0)[:, None]  # then there is no mean to shift: it would only round the first token's
    past_mean = (state.mean - origin).masked_fill(nothing_seen, 0)
    past = TimestepNormState(state.count[:, None], past_mean[:, None], state.var[:, None])
    count, mean, var = merge(past, running_statistics(tokens))
    normal = (features - mean[..., None]) * (var[..., None] + eps).rsqrt()
    y = normal.flatten(2) * (weight.to(work) + 1) + bias.to(work)
    y = y.masked_fill(padding_mask[..., None], 0).to(x.dtype)
    # Copies: a view of the last step would keep the statistics of the whole sequence alive.
    return y, TimestepNormState(count[:, -1].clone(), mean[:, -1] + origin, var[:, -1].clone())


def merge(first: TimestepNormState, second: TimestepNormState) -> TimestepNormState:
    """The statistics of two spans together (Chan, Golub and LeVeque). Associative; an empty span changes nothing."""
    count = first.count + second.count
    work = first.mean.dtype
    share = (second.count.to(work) / count.clamp(min=1).to(work))[..., None]
    difference = second.mean - first.mean
    mean = first.mean + share * difference
    var = first.var + share * (second.var - first.var + (1 - share) * difference**2)
    return TimestepNormState(count, mean, var)


def running_statistics(tokens: TimestepNormState) -> TimestepNormState:
    """Statistics of tokens 0..t for every t, from those of single tokens (Hillis and Steele's scan, log2 L merges).

    Every member has the time in its second dimension. After the round with reach r, entry t covers the 2r tokens
    up to t.
    """
    reach, length = 1, tokens.count.shape[1]
    while reach < length:
        earlier = TimestepNormState(
            pad(tokens.count[:, :-reach], (reach, 0)),
            pad(tokens.mean[:, :-reach], (0, 0, reach, 0)),
            pad(tokens.var[:, :-reach], (0, 0, reach, 0)),
        )
        tokens = merge(earlier, tokens)
        reach *= 2
    return tokens


def _first_token_mean(
    features: Float[Tensor, "batch time group width"], padding_mask: Padding
) -> Float[Tensor, "batch group"]:
    """The mean of the first token that is not padding, a constant for autograd."""
    first = (~padding_mask).int().argmax(1)
    rows = torch.arange(len(first), device=first.device)
    return features.detach()[rows, first].mean(-1)


def check_arguments(
    x: Sequence,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    state: TimestepNormState | None,
    padding_mask: Padding | None,
    eps: float,
) -> tuple[TimestepNormState, Padding]:
    """Raise for arguments that do not fit, in every face alike; returns state and mask, filled in where None."""
    check_sequence(x)
    batch, time, channels = x.shape
    for name, value in (("weight", weight), ("bias", bias)):
        require_tensor(name, value, "channel", channel=channels)
        require_floating(name, value)
    require_divisor("groups", groups, "channels", channels)
    if padding_mask is None:
        padding_mask = x.new_zeros(batch, time, dtype=torch.bool)
    require_tensor("padding_mask", padding_mask, "batch time", batch=batch, time=time)
    if padding_mask.dtype != torch.bool:
        raise TypeError(f"padding_mask must be bool (True = padding), got {padding_mask.dtype}; use mask.bool()")
    require_device_of("padding_mask", padding_mask, x)
    require_above_zero("eps", eps)
    work = working_dtype(x)
    if state is None:
        zeros = x.new_zeros(batch, groups, dtype=work)
        return TimestepNormState(x.new_zeros(batch, dtype=torch.int64), zeros, zeros), padding_mask
    require_state("state", state, TimestepNormState)
    require_tensor("state.count", state.count, "batch", batch=batch)
    require_integers("state.count", state.count)
    require_device_of("state.count", state.count, x)
    for name, value in (("state.mean", state.mean), ("state.var", state.var)):
        require_tensor(name, value, "batch group", batch=batch, group=groups)
        require_floating(name, value)
        require_device_of(name, value, x)
    return TimestepNormState(state.count, state.mean.to(work), state.var.to(work)), padding_mask
