"""Plausible wrong answers to the exercises of chapter 04."""

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter04 as solutions


def norm(x, weight, bias, groups, state, eps, update, late=False, gain=1, add=1, root=None):
    """The solution with places to go wrong: the update, when it is used, the gain, the bias and the root."""
    zeros = torch.zeros(x.shape[0], groups, dtype=x.dtype)
    count, mean, var = (0, zeros, zeros) if state is None else state
    y = []
    for x_t in x.unbind(1):
        features = x_t.unflatten(1, (groups, -1))
        before = mean, var
        count += 1
        mean, var = update(features, 1 / count, mean, var)
        m, v = before if late else (mean, var)
        scale = (v + eps).sqrt() if root is None else root(v)
        y.append(((features - m[..., None]) / scale[..., None]).flatten(1) * (weight + gain) + add * bias)
    return torch.stack(y, 1), (count, mean, var)


def right_update(features, c, mean, var, correction=0, inside=1):
    d = features.mean(-1) - mean
    own = inside * features.var(-1, correction=correction)
    return mean + c * d, var + c * (own + (1 - c) * d**2 - var)


@mutant(of="timestep_norm", says="it sees the future")
def whole_sequence(x, weight, bias, groups, state=None, eps=1e-5):
    f = x.unflatten(2, (groups, -1))
    mean, var = f.mean((1, 3)), f.var((1, 3), correction=0)
    y = (f - mean[:, None, :, None]) / (var[:, None, :, None] + eps).sqrt()
    return y.flatten(2) * (weight + 1) + bias, (x.shape[1], mean, var)


@mutant(of="timestep_norm", says="gain is weight + 1")
def weight_without_one(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, right_update, gain=0)


@mutant(of="timestep_norm", says="the bias is missing")
def no_bias(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, right_update, add=0)


@mutant(of="timestep_norm", says="weight and bias are not used")
def bare(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, 0 * weight, bias, groups, state, eps, right_update, add=0)


@mutant(of="timestep_norm", says="under the root")
def eps_outside(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, right_update, root=lambda v: v.sqrt() + eps)


@mutant(of="timestep_norm", says="not yet in its own statistics")
def normalised_before_the_update(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, right_update, late=True)


@mutant(of="timestep_norm", says="unbiased variance")
def torch_default_variance(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, lambda f, c, m, v: right_update(f, c, m, v, correction=1))


@mutant(of="timestep_norm", says="variance of the group means")
def variance_of_means(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, lambda f, c, m, v: right_update(f, c, m, v, inside=0))


@mutant(of="timestep_norm", says="how much the group means differ is missing")
def only_the_inner_variance(x, weight, bias, groups, state=None, eps=1e-5):
    def update(f, c, mean, var):
        return mean + c * (f.mean(-1) - mean), var + c * (f.var(-1, correction=0) - var)

    return norm(x, weight, bias, groups, state, eps, update)


@mutant(of="timestep_norm", says="with the factor (1 - c)")
def full_difference(x, weight, bias, groups, state=None, eps=1e-5):
    def update(f, c, mean, var):
        d = f.mean(-1) - mean
        return mean + c * d, var + c * (f.var(-1, correction=0) + d**2 - var)

    return norm(x, weight, bias, groups, state, eps, update)


@mutant(of="timestep_norm", says="nothing is gathered over time")
def group_norm_of_each_token(x, weight, bias, groups, state=None, eps=1e-5):
    return norm(x, weight, bias, groups, state, eps, lambda f, c, m, v: (f.mean(-1), f.var(-1, correction=0)))


@mutant(of="timestep_norm", says="share one mean and one variance")
def one_group(x, weight, bias, groups, state=None, eps=1e-5):
    y, (count, mean, var) = norm(x, weight, bias, 1, None, eps, right_update)
    return y, (count, mean.expand(-1, groups), var.expand(-1, groups))


@mutant(of="timestep_norm", says="every second feature")
def interleaved_groups(x, weight, bias, groups, state=None, eps=1e-5):
    order = torch.arange(x.shape[2]).unflatten(0, (-1, groups)).T.flatten()
    y, state = norm(x[..., order], weight[order], bias[order], groups, state, eps, right_update)
    return y[..., order.argsort()], state


@mutant(of="timestep_norm", says="holds its root")
def state_of_deviations(x, weight, bias, groups, state=None, eps=1e-5):
    state = None if state is None else (state[0], state[1], state[2] ** 2)
    y, (count, mean, var) = solutions.timestep_norm(x, weight, bias, groups, state, eps)
    return y, (count, mean, var.sqrt())


@mutant(of="timestep_norm", says="has eps added")
def state_with_eps(x, weight, bias, groups, state=None, eps=1e-5):
    y, (count, mean, var) = solutions.timestep_norm(x, weight, bias, groups, state, eps)
    return y, (count, mean, var + eps)


@mutant(of="timestep_norm", says="count should be 12")
def count_of_numbers(x, weight, bias, groups, state=None, eps=1e-5):
    y, (count, mean, var) = solutions.timestep_norm(x, weight, bias, groups, state, eps)
    return y, (count * x.shape[2], mean, var)


@mutant(of="timestep_norm", says="the incoming state is not used")
def starts_afresh(x, weight, bias, groups, state=None, eps=1e-5):
    return solutions.timestep_norm(x, weight, bias, groups, None, eps)


@mutant(of="timestep_norm", says="is not what one call gives there")
def past_counts_as_one_token(x, weight, bias, groups, state=None, eps=1e-5):
    state = None if state is None else (1, *state[1:])
    y, (_, mean, var) = solutions.timestep_norm(x, weight, bias, groups, state, eps)
    return y, (x.shape[1], mean, var)


@mutant(of="timestep_norm", says="the state is three things")
def state_without_count(x, weight, bias, groups, state=None, eps=1e-5):
    y, (_, mean, var) = solutions.timestep_norm(x, weight, bias, groups, None, eps)
    return y, (mean, var)


@mutant(of="timestep_norm", says="in float64 all is well")
def difference_of_squares(x, weight, bias, groups, state=None, eps=1e-5):
    def update(f, c, mean, var):
        square = var + mean**2
        square = square + c * (f.square().mean(-1) - square)
        mean = mean + c * (f.mean(-1) - mean)
        return mean, square - mean**2

    return norm(x, weight, bias, groups, state, eps, update)


def merged(first, second, mean=None, var=None):
    """The solution's parts, with another mean or variance from (share, difference, inside)."""
    count, right_mean, right_var = solutions.merge(first, second)
    share, d = second[0] / count, second[1] - first[1]
    inside = (1 - share) * first[2] + share * second[2]
    return count, mean(share, d) if mean else right_mean, var(share, d, inside) if var else right_var


@mutant(of="merge", says="the count should be")
def counts_not_added(first, second):
    return second[0], *solutions.merge(first, second)[1:]


@mutant(of="merge", says="plain average of the two means")
def plain_average(first, second):
    return merged(first, second, mean=lambda share, d: (first[1] + second[1]) / 2)


@mutant(of="merge", says="two weights swapped")
def swapped_weights(first, second):
    return merged(first, second, mean=lambda share, d: first[1] + (1 - share) * d)


@mutant(of="merge", says="two means are apart is missing")
def variances_averaged(first, second):
    return merged(first, second, var=lambda share, d, inside: inside)


@mutant(of="merge", says="with the wrong factor")
def one_share_forgotten(first, second):
    return merged(first, second, var=lambda share, d, inside: inside + share * d**2)


@mutant(of="merge", says="with its full square")
def both_shares_forgotten(first, second):
    return merged(first, second, var=lambda share, d, inside: inside + d**2)


@mutant(of="merge", says="but not squared")
def not_squared(first, second):
    return merged(first, second, var=lambda share, d, inside: inside + share * (1 - share) * d)


@mutant(of="merge", says="of the two means alone")
def means_only(first, second):
    return merged(first, second, var=lambda share, d, inside: share * (1 - share) * d**2)


@mutant(of="merge", says="plain average of the two variances")
def plain_average_of_variances(first, second):
    return merged(first, second, var=lambda share, d, inside: (first[2] + second[2]) / 2 + share * (1 - share) * d**2)


@mutant(of="merge", says="with an empty first span")
def an_empty_span_counts_one(first, second):
    return solutions.merge((max(first[0], 1), *first[1:]), second)


@mutant(of="merge", says="return three things")
def forgets_the_count(first, second):
    return solutions.merge(first, second)[1:]


@mutant(of="prefixes", says="7 merges one after the other")
def one_after_the_other(items, merge):
    result = items[:1]
    for item in items[1:]:
        result.append(merge(result[-1], item))
    return result


@mutant(of="prefixes", says="the earlier span comes first")
def wrong_order(items, merge):
    reach = 1
    while reach < len(items):
        items = [merge(items[t], items[t - reach]) if t >= reach else items[t] for t in range(len(items))]
        reach *= 2
    return items


@mutant(of="prefixes", says="they overlap")
def changed_in_place(items, merge):
    reach = 1
    while reach < len(items):
        for t in range(reach, len(items)):
            items[t] = merge(items[t - reach], items[t])
        reach *= 2
    return items


@mutant(of="prefixes", says="there is a gap")
def reach_grows_too_fast(items, merge):
    reach = 1
    while reach < len(items):
        items = [merge(items[t - reach], items[t]) if t >= reach else items[t] for t in range(len(items))]
        reach *= 3
    return items


@mutant(of="prefixes", says="yours covers tokens 1 to 2")
def one_round(items, merge):
    return [merge(items[t - 1], items[t]) if t else items[t] for t in range(len(items))]


@mutant(of="prefixes", says="one entry for each")
def only_the_last(items, merge):
    return solutions.prefixes(items, merge)[-1:]


@mutant(of="timestep_norm_port", says="still pieces of time")
def the_planted_bug(x, groups, eps=1e-5):
    batch, time, channels = x.shape
    features = x.view(batch, groups, time, channels // groups)
    return normalise(features, eps).view(batch, time, channels)


@mutant(of="timestep_norm_port", says="land in other places")
def not_transposed_back(x, groups, eps=1e-5):
    features = x.view(*x.shape[:2], groups, -1).transpose(1, 2)
    return normalise(features, eps).reshape(x.shape)


@mutant(of="timestep_norm_port", says="every second feature")
def width_before_group(x, groups, eps=1e-5):
    features = x.view(*x.shape[:2], -1, groups).permute(0, 3, 1, 2)
    return normalise(features, eps).permute(0, 2, 3, 1).reshape(x.shape)


@mutant(of="timestep_norm_port", says="the width instead of the group")
def wrong_pair_transposed(x, groups, eps=1e-5):
    features = x.view(*x.shape[:2], groups, -1).permute(0, 3, 1, 2)
    return normalise(features, eps).permute(0, 2, 3, 1).reshape(x.shape)


@mutant(of="timestep_norm_port", says="y first differs")
def mean_of_the_whole_text(x, groups, eps=1e-5):
    features = x.view(*x.shape[:2], groups, -1).transpose(1, 2)
    mean, var = features.mean((2, 3), keepdim=True), features.var((2, 3), correction=0, keepdim=True)
    return ((features - mean) / (var + eps).sqrt()).transpose(1, 2).reshape(x.shape)


def normalise(features, eps):
    """The middle of the port: (batch, group, time, width), statistics over time and width."""
    n = torch.arange(1, features.shape[2] + 1)[:, None]
    mean = features.mean(-1, keepdim=True).cumsum(2) / n
    square = features.square().mean(-1, keepdim=True).cumsum(2) / n
    return (features - mean) / (square - mean.square() + eps).sqrt()
