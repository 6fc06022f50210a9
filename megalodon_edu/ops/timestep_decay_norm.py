"""Timestep decay norm: Timestep Norm whose statistics fade, so that a long past weighs no more than a recent one.

    m_t, v_t: mean and biased variance of token t over the features of its group
    μ_t = μ_{t-1} + c(β_1, n) (m_t - μ_{t-1})          σ²_t = σ²_{t-1} + c(β_2, n) (v_t - σ²_{t-1})          n = t + 1
    y_t = (x_t - μ_t) / sqrt(σ²_t + eps) · (weight + 1) + bias          c(β, n) = (1 - β) / (1 - βⁿ)

Gecko (arXiv:2601.06463), read in its released code, which fixes β_1 = 0.999 and β_2 = 0.9999. The step c(β, n) is the
usual exponential moving average with Adam's correction for its start at zero, in one line: the code keeps the average
uncorrected and divides by 1 - βⁿ where it is used, we keep the corrected one, so that the state means what Timestep
Norm's means. As β goes to 1, c goes to 1/n, and μ_t is Timestep Norm's.

σ²_t is not: it averages each token's variance around the token's own mean, and leaves out how far the means of tokens
lie apart, which Timestep Norm counts in. At a single token both norms are the same.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_number
from megalodon_edu.ops.recurrence import Recurrence, chunked_face
from megalodon_edu.ops.timestep_norm import TimestepNormState, check_arguments

Sequence = Float[Tensor, "batch time channel"]
Padding = Bool[Tensor, "batch time"]

MEAN_DECAY, VAR_DECAY = 0.999, 0.9999
CHUNK = 256
"""Steps that the parallel face joins in one matrix product."""


def timestep_decay_norm_reference(
    x: Sequence,
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    groups: int,
    mean_decay: float = MEAN_DECAY,
    var_decay: float = VAR_DECAY,
    state: TimestepNormState | None = None,
    padding_mask: Padding | None = None,
    eps: float = 1e-5,
) -> tuple[Sequence, TimestepNormState]:
    """One token at a time. padding_mask is True at padding: the output is 0 there and the state stands still.

    Raises TypeError or ValueError as `ops.timestep_norm.timestep_norm_reference`, and for a decay outside (0, 1).
    """
    (count, mean, var), padding_mask = check_arguments(x, weight, bias, groups, state, padding_mask, eps)
    require_decays(mean_decay, var_decay)
    work = mean.dtype
    y = []
    for x_t, padded in zip(x.to(work).unbind(1), padding_mask.unbind(1), strict=True):
        features = x_t.masked_fill(padded[:, None], 0).unflatten(1, (groups, -1))
        count = count + ~padded
        live = (~padded).to(work)[:, None]
        mean = mean + live * _step(mean_decay, count).to(work)[:, None] * (features.mean(-1) - mean)
        var = var + live * _step(var_decay, count).to(work)[:, None] * (features.var(-1, correction=0) - var)
        normal = (features - mean[..., None]) / (var[..., None] + eps).sqrt()
        y.append((normal.flatten(1) * (weight.to(work) + 1) + bias.to(work)).masked_fill(padded[:, None], 0))
    return torch.stack(y, 1).to(x.dtype), TimestepNormState(count, mean, var)


def timestep_decay_norm_parallel(
    x: Sequence,
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    groups: int,
    mean_decay: float = MEAN_DECAY,
    var_decay: float = VAR_DECAY,
    state: TimestepNormState | None = None,
    padding_mask: Padding | None = None,
    eps: float = 1e-5,
) -> tuple[Sequence, TimestepNormState]:
    """The same by matrix products over chunks of steps. Arguments and errors as `timestep_decay_norm_reference`.

    Means are taken relative to the first token of x, so that one far from zero cancels nothing.
    """
    has_padding = padding_mask is not None
    (count, mean, var), padding_mask = check_arguments(x, weight, bias, groups, state, padding_mask, eps)
    require_decays(mean_decay, var_decay)
    work = mean.dtype
    features = x.to(work).masked_fill(padding_mask[..., None], 0).unflatten(2, (groups, -1))
    origin = features.detach()[:, 0].mean(-1)
    features = features - origin[:, None, :, None]
    mask = padding_mask if has_padding else None
    running_mean = _average(features.mean(-1), mean_decay, count, mean - origin, mask)
    running_var = _average(features.var(-1, correction=0), var_decay, count, var, mask)
    normal = (features - running_mean[..., None]) * (running_var[..., None] + eps).rsqrt()
    y = normal.flatten(2) * (weight.to(work) + 1) + bias.to(work)
    y = y.masked_fill(padding_mask[..., None], 0).to(x.dtype)
    last_mean, last_var = running_mean[:, -1] + origin, running_var[:, -1].clone()
    last_count = count + (~padding_mask).sum(1)
    if has_padding:
        nothing_new = (last_count == count)[:, None]
        last_mean, last_var = torch.where(nothing_new, mean, last_mean), torch.where(nothing_new, var, last_var)
    return y, TimestepNormState(last_count, last_mean, last_var)


def require_decays(mean_decay: float, var_decay: float) -> None:
    """Raise TypeError or ValueError unless both are numbers between 0 and 1, ends excluded."""
    for name, decay in (("mean_decay", mean_decay), ("var_decay", var_decay)):
        require_number(name, decay)
        if not 0 < decay < 1:
            raise ValueError(f"{name} must lie between 0 and 1 and be neither, got {decay}; Gecko's are 0.999, 0.9999")


def _weight(decay: float, count: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """1 - βⁿ, in float64: how much of an average that started at zero has been filled."""
    return -torch.expm1(count.double() * math.log(decay))


def _step(decay: float, count: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """c(β, n) in float64."""
    return (1 - decay) / _weight(decay, count.clamp(min=1))


def _average(
    tokens: Float[Tensor, "batch time group"],
    decay: float,
    count: Int[Tensor, " batch"],
    before: Float[Tensor, "batch group"],
    padding_mask: Padding | None,
) -> Float[Tensor, "batch time group"]:
    """The corrected average after every token that is no padding, from `before`, which `count` tokens made.

    Uncorrected, h_t = β h_{t-1} + (1 - β) m_t is a recurrence of `ops.recurrence` with one real mode, the same for all
    groups. Tokens that are no padding are moved to the front first, and their averages back.
    """
    batch, time, groups = tokens.shape
    work = tokens.dtype
    if padding_mask is not None:
        order = padding_mask.byte().argsort(dim=1, stable=True)
        tokens = tokens.gather(1, order[..., None].expand(-1, -1, groups))
        place = (~padding_mask).cumsum(1)
    else:
        place = torch.arange(1, time + 1, device=tokens.device).expand(batch, -1)
    one = torch.ones(1, 1, dtype=torch.float64, device=tokens.device)
    fading = Recurrence(decay * one, None, (1 - decay) * one, one)
    start = before * _weight(decay, count).to(work)[:, None]
    rows = tokens.transpose(1, 2).reshape(batch * groups, time, 1)
    y, _ = chunked_face(rows, fading, start.reshape(batch * groups, 1, 1), CHUNK)
    raw = y.reshape(batch, groups, time).transpose(1, 2)
    if padding_mask is not None:
        raw = raw.gather(1, (place - 1).clamp(min=0)[..., None].expand(-1, -1, groups))
    return raw / _weight(decay, (count[:, None] + place).clamp(min=1)).to(work)[..., None]
