"""Plausible wrong answers to the exercises of chapter 06."""

import math

import torch
from torch.nn.functional import layer_norm, rms_norm, scaled_dot_product_attention

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter06 as solutions


def in_heads(z, gamma, beta, num_heads):
    return (t.unflatten(-1, (num_heads, -1)) for t in (z, gamma + 1, beta))


@mutant(of="queries_and_keys", says="nothing is normed")
def not_normed(z, gamma, beta, num_heads):
    z, kappa, mu = in_heads(z, gamma, beta, num_heads)
    return z * kappa[0] + mu[0], z * kappa[1] + mu[1]


@mutant(of="queries_and_keys", says="one length over all heads")
def normed_over_all_heads(z, gamma, beta, num_heads):
    return not_normed.answer(z / z.norm(dim=-1, keepdim=True), gamma, beta, num_heads)


@mutant(of="queries_and_keys", says="which is LayerNorm")
def layer_normed(z, gamma, beta, num_heads):
    z, kappa, mu = in_heads(z, gamma, beta, num_heads)
    z = layer_norm(z, z.shape[-1:]) / math.sqrt(z.shape[-1])
    return z * kappa[0] + mu[0], z * kappa[1] + mu[1]


@mutant(of="queries_and_keys", says="you norm after κ and μ")
def normed_after(z, gamma, beta, num_heads):
    q, k = not_normed.answer(z, gamma, beta, num_heads)
    return q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)


@mutant(of="queries_and_keys", says="1/√d_z is missing")
def rms_without_its_scale(z, gamma, beta, num_heads):
    z, kappa, mu = in_heads(z, gamma, beta, num_heads)
    z = rms_norm(z, z.shape[-1:])
    return z * kappa[0] + mu[0], z * kappa[1] + mu[1]


@mutant(of="queries_and_keys", says="once too often")
def scaled_twice(z, gamma, beta, num_heads):
    z, kappa, mu = in_heads(z, gamma, beta, num_heads)
    z = z / z.norm(dim=-1, keepdim=True) / math.sqrt(z.shape[-1])
    return z * kappa[0] + mu[0], z * kappa[1] + mu[1]


@mutant(of="queries_and_keys", says="the gain is gamma + 1")
def gain_without_its_one(z, gamma, beta, num_heads):
    return solutions.queries_and_keys(z, gamma - 1, beta, num_heads)


@mutant(of="queries_and_keys", says="beta shrinks with z")
def offset_scaled_too(z, gamma, beta, num_heads):
    z, kappa, mu = in_heads(z, gamma, beta, num_heads)
    z = rms_norm(z, z.shape[-1:])
    return tuple((z * kappa[i] + mu[i]) / math.sqrt(z.shape[-1]) for i in (0, 1))


@mutant(of="queries_and_keys", says="beta is missing")
def offset_forgotten(z, gamma, beta, num_heads):
    return solutions.queries_and_keys(z, gamma, torch.zeros_like(beta), num_heads)


@mutant(of="queries_and_keys", says="gamma is missing")
def gain_forgotten(z, gamma, beta, num_heads):
    return solutions.queries_and_keys(z, torch.zeros_like(gamma), beta, num_heads)


@mutant(of="queries_and_keys", says="row 0 is for q")
def rows_swapped(z, gamma, beta, num_heads):
    return solutions.queries_and_keys(z, gamma, beta, num_heads)[::-1]


@mutant(of="queries_and_keys", says="k is made with the row of q")
def one_row_for_both(z, gamma, beta, num_heads):
    q, _ = solutions.queries_and_keys(z, gamma, beta, num_heads)
    return q, q.clone()


@mutant(of="queries_and_keys", says="yours has (2, 5, 12)")
def heads_not_cut(z, gamma, beta, num_heads):
    q, k = solutions.queries_and_keys(z, gamma, beta, num_heads)
    return q.flatten(-2), k.flatten(-2)


@mutant(of="row_entropy", says="your entropy is NaN")
def logarithm_of_nothing(logits):
    weights = logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -torch.inf).softmax(-1)
    return -(weights * weights.log()).sum(-1)


@mutant(of="row_entropy", says="your rows see the future")
def future_counted(logits):
    return torch.special.entr(logits.softmax(-1)).sum(-1)


@mutant(of="row_entropy", says="you mask after the softmax")
def masked_too_late(logits):
    return torch.special.entr(logits.softmax(-1).tril()).sum(-1)


@mutant(of="row_entropy", says="your entropy is negative")
def minus_sign_forgotten(logits):
    return -solutions.row_entropy(logits)


@mutant(of="row_entropy", says="which counts bits")
def in_bits(logits):
    return solutions.row_entropy(logits) / math.log(2)


@mutant(of="row_entropy", says="an entropy is a sum")
def averaged_over_keys(logits):
    return solutions.row_entropy(logits) / logits.shape[-1]


@mutant(of="row_entropy", says="you divide by ln n already")
def as_a_share(logits):
    keys = torch.arange(1, len(logits) + 1, dtype=logits.dtype)
    return solutions.row_entropy(logits) / keys.log().where(keys > 1, torch.ones_like(keys))


@mutant(of="row_entropy", says="with the logits 2000 and 0")
def rows_cut_but_not_their_zeros(logits):
    rows = (logits[t, : t + 1].softmax(-1) for t in range(len(logits)))
    return torch.stack([-(w * w.log()).sum() for w in rows])


@mutant(of="gain_needed", says="that is κ², the logit")
def root_forgotten(tokens, share):
    return solutions.gain_needed(tokens, share) ** 2


@mutant(of="gain_needed", says="you count the matching key among the others")
def counted_itself(tokens, share):
    return solutions.gain_needed(tokens + 1, share)


@mutant(of="gain_needed", says="`share` times the weight of all others")
def share_of_the_others(tokens, share):
    return math.sqrt(math.log(share * (tokens - 1)))


@mutant(of="gain_needed", says="compares it with one other key")
def a_single_rival(tokens, share):
    return math.sqrt(math.log(share / (1 - share)))


@mutant(of="gain_needed", says="to base 2")
def powers_of_two(tokens, share):
    return math.sqrt(math.log2(share * (tokens - 1) / (1 - share)))


@mutant(of="gain_needed", says="should be 2.7613, yours is 22.09")
def scaled_by_a_width(tokens, share):
    return 8 * solutions.gain_needed(tokens, share)


def attend(q, k, v, **options):
    return scaled_dot_product_attention(q[None], k[None], v[None], **({"is_causal": True, "scale": 1.0} | options))[0]


def unit(t):
    return t / t.norm(dim=-1, keepdim=True)


@mutant(of="normalized_attention", says="of its own accord")
def the_planted_bug(z, v, kappa, mu):
    q, k = (unit(z) * kappa[i] + mu[i] for i in (0, 1))
    return attend(q, k, v, scale=None)


@mutant(of="normalized_attention", says="multiplied by √d_z")
def the_root_as_a_factor(z, v, kappa, mu):
    q, k = (unit(z) * kappa[i] + mu[i] for i in (0, 1))
    return attend(q, k, v, scale=math.sqrt(z.shape[-1]))


@mutant(of="normalized_attention", says="nine times too large")
def rms_and_no_scale(z, v, kappa, mu):
    q, k = (unit(z) * kappa[i] + mu[i] for i in (0, 1))
    return attend(q, k, v, scale=z.shape[-1])


@mutant(of="normalized_attention", says="z is no longer normed")
def norm_dropped(z, v, kappa, mu):
    return attend(z * kappa[0] + mu[0], z * kappa[1] + mu[1], v)


@mutant(of="normalized_attention", says="now you norm after κ and μ")
def norm_moved(z, v, kappa, mu):
    return attend(unit(z * kappa[0] + mu[0]), unit(z * kappa[1] + mu[1]), v)


@mutant(of="normalized_attention", says="see the future now")
def no_longer_causal(z, v, kappa, mu):
    q, k = (unit(z) * kappa[i] + mu[i] for i in (0, 1))
    return attend(q, k, v, is_causal=False)
