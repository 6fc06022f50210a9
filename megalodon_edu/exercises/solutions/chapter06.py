"""Solutions of chapter 06, normalized attention."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention


def queries_and_keys(z, gamma, beta, num_heads):
    z = z.unflatten(-1, (num_heads, -1))
    z = z / z.norm(dim=-1, keepdim=True)
    kappa, mu = (gamma + 1).unflatten(-1, (num_heads, -1)), beta.unflatten(-1, (num_heads, -1))
    return z * kappa[0] + mu[0], z * kappa[1] + mu[1]


def row_entropy(logits):
    future = torch.ones_like(logits).triu(1).bool()
    weights = logits.masked_fill(future, -torch.inf).softmax(-1)
    return torch.special.entr(weights).sum(-1)


def gain_needed(tokens, share):
    return math.sqrt(math.log(share * (tokens - 1) / (1 - share)))


def normalized_attention(z, v, kappa, mu):
    z = z / z.norm(dim=-1, keepdim=True)
    q, k = (z * kappa[i] + mu[i] for i in (0, 1))
    return scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=1.0)[0]
