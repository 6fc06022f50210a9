"""Chapter 06, normalized attention: what the checks look at and what they say."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases
from megalodon_edu.exercises.probes import expect_close, expect_number, expect_pair, expect_shape, signal

HEADS = 3
CLOSE = 1e-4  # an L2 norm and an RMS norm with its eps are both right


@exercise(
    success="each head of z has the length 1, and κ and μ make queries and keys of it.",
    hints=[
        "Cut z into heads first: `z.unflatten(-1, (num_heads, -1))` is (batch, time, head, key).",
        "Divide each head by its own length: `z / z.norm(dim=-1, keepdim=True)`. No length is 0 here.",
        "gamma and beta hold one row for q and one for k, each as wide as all heads: cut the rows into heads too.",
        "q is `z * (gamma[0] + 1) + beta[0]`, and k the same with row 1.",
    ],
)
def queries_and_keys(answer: Any) -> None:
    """`queries_and_keys(z, gamma, beta, num_heads)` returns q and k, each (batch, time, head, key)."""
    z, gamma, beta = signal(2, 5, 12) * 2, signal(1, 2, 12, seed=1)[0] / 2, signal(1, 2, 12, seed=2)[0] / 2
    dimensions = "batch time head key"
    q, k = expect_pair(answer(z, gamma, beta, HEADS), "q and k")
    for name, tensor in (("q", q), ("k", k)):
        expect_shape(tensor, (2, 5, HEADS, 4), name, dimensions)
    right_q, right_k = _variant(z, gamma, beta)
    both, right = torch.cat([q, k]), torch.cat([right_q, right_k])
    swapped, one_row = gamma.flip(0), gamma[:1].expand(2, -1)
    expect_close(both, right, "of q and k, one below the other, the first number that", dimensions, mistakes={
        name: torch.cat(wrong) for name, wrong in {
            "q and k are as long as z is: nothing is normed. Divide each head of z by its length first.":
                _variant(z, gamma, beta, norm="none"),
            "you take one length over all heads. Each head has its own, over its d_z = 4 features.":
                _variant(z, gamma, beta, norm="all heads"),
            "you also subtract the mean, which is LayerNorm. Only the length is divided out here.":
                _variant(z, gamma, beta, norm="layer"),
            "you norm after κ and μ. Then no κ can ever make a logit larger than 1: norm z, and only then scale it.":
                _variant(z, gamma, beta, norm="after"),
            "1/√d_z is missing: after an RMS norm z has the length √d_z = 2 and not 1, so a logit may reach d_z = 4.":
                _variant(z, gamma, beta, length=2.0),
            "you divide by √d_z once too often: z has the length 1/√d_z = ½ now.":
                _variant(z, gamma, beta, length=0.5),
            "the gain is gamma + 1: a gamma of 0 leaves z as it is. You multiply by gamma alone.":
                _variant(z, gamma - 1, beta),
            "your beta shrinks with z. It is added last, as it is.": _variant(z, gamma, beta / 2),
            "beta is missing: κ ⊙ z + μ has two parts.": _variant(z, gamma, 0 * beta),
            "gamma is missing: q and k differ by their beta alone.": _variant(z, 0 * gamma, beta),
            "q has the gain and offset of k, and k those of q: row 0 is for q.": _variant(z, swapped, beta.flip(0)),
            "k is made with the row of q. Row 1 of gamma and beta is for k.":
                _variant(z, one_row, beta[:1].expand(2, -1)),
        }.items()
    }, tolerance=CLOSE)  # fmt: skip


def _variant(z: Tensor, gamma: Tensor, beta: Tensor, norm: str = "head", length: float = 1.0) -> tuple[Tensor, Tensor]:
    """q and k, with the places to go wrong: what is normed, and to which length."""
    heads = z.unflatten(-1, (HEADS, -1))
    unit = {
        "head": lambda: heads / heads.norm(dim=-1, keepdim=True),
        "all heads": lambda: heads / z.norm(dim=-1)[..., None, None],
        "layer": lambda: layer_norm(heads, heads.shape[-1:], eps=0.0) / heads.shape[-1] ** 0.5,
        "none": lambda: heads,
        "after": lambda: heads,
    }[norm]()
    q, k = (
        length * unit * (gamma[i] + 1).unflatten(0, (HEADS, -1)) + beta[i].unflatten(0, (HEADS, -1)) for i in (0, 1)
    )
    if norm == "after":
        q, k = (t / t.norm(dim=-1, keepdim=True) for t in (q, k))
    return q, k


@exercise(
    success="equal weights give ln n, a single winner 0, and no weight of 0 makes a NaN.",
    hints=[
        "Mask first, then softmax: `logits.masked_fill(future, -torch.inf).softmax(-1)`, where `future` is "
        "`torch.ones_like(logits).triu(1).bool()`.",
        "H is the sum of -w ln w over each row.",
        "0 · ln 0 counts as 0, but a computer says NaN. Ask for `torch.special.entr(w)`, or for the logarithm of "
        "`w.clamp_min(1e-300)`.",
    ],
)
def row_entropy(answer: Any) -> None:
    """`row_entropy(logits)`, logits (query, key), returns the entropy of each causal row in nats, (query,)."""
    logits = 2 * signal(1, 5, 5)[0]
    what, dimensions = "the entropy", "query"
    right = _entropy(logits)
    lengths = torch.arange(1, 6, dtype=torch.float64)
    full = torch.special.entr(logits.softmax(-1))
    found = expect_shape(answer(logits), (5,), what, dimensions)
    if found.isnan().any():
        raise Diagnosis(
            "your entropy is NaN: a masked weight is exactly 0, and 0 · ln 0 is NaN to a computer. It counts as 0."
        )
    expect_close(found, right, what, dimensions, mistakes={
        "your rows see the future: the softmax runs over all keys. Row t has t + 1 of them.": full.sum(-1),
        "you mask after the softmax: the weights that are left no longer add up to 1.": full.tril().sum(-1),
        "your entropy is negative: the sum has a minus sign in front.": -right,
        "you take the logarithm to base 2, which counts bits. The question is for nats: `log`, not `log2`.":
            right / math.log(2),
        "you average over the keys; an entropy is a sum.": right / 5,
        "you divide by ln n already. The exercise asks for H itself.":
            torch.cat([right[:1], right[1:] / lengths[1:].log()]),
    })  # fmt: skip
    sharp = torch.tensor([[0.0, 0.0], [2000.0, 0.0]], dtype=torch.float64)
    if not torch.allclose(answer(sharp), torch.zeros(2, dtype=torch.float64), atol=1e-6):
        raise Diagnosis(
            "with the logits 2000 and 0 one key gets all, and the entropy is 0. Yours is "
            f"{answer(sharp)[1].item():.4g}: the smaller weight is rounded to exactly 0, and 0 · ln 0 must count as 0."
        )


def _entropy(logits: Tensor) -> Tensor:
    future = torch.ones_like(logits).triu(1).bool()
    return torch.special.entr(logits.masked_fill(future, -math.inf).softmax(-1)).sum(-1)


@exercise(
    success="so that is how far κ must grow before one token among many is heard.",
    hints=[
        "The matching key has the logit κ · κ = κ², the other keys have 0.",
        "Its weight is exp(κ²) / (exp(κ²) + tokens - 1). Set this equal to share.",
        "exp(κ²) = share · (tokens - 1) / (1 - share). Take the logarithm, then the root.",
    ],
)
def gain_needed(answer: Any) -> None:
    """`gain_needed(tokens, share)`: the κ at which one matching key among `tokens` gets this share of the weight."""
    known = ((2049, 0.5), (101, 0.9))
    for tokens, share in cases(known, lambda numbers: (numbers.randint(20, 5000), numbers.uniform(0.2, 0.95))):
        what = f"the gain for {tokens} tokens and a share of {share:g}"
        found = torch.tensor(expect_number(answer(tokens, share), what), dtype=torch.float64)
        squared = math.log(share * (tokens - 1) / (1 - share))
        mistakes = {
            "that is κ², the logit. q and k both carry a κ, so each needs the root of it.": squared,
            "you count the matching key among the others: there are tokens - 1 of those.":
                math.sqrt(math.log(share * tokens / (1 - share))),
            "your equation gives the matching key `share` times the weight of all others together. It should have "
            "`share` of all the weight, so the ratio is share / (1 - share).":
                math.sqrt(math.log(share * (tokens - 1))) if share * (tokens - 1) > 1 else math.nan,
            "your equation compares it with one other key. There are tokens - 1 of them, and their weights add up.":
                math.sqrt(max(0.0, math.log(share / (1 - share)))),
            "you take the logarithm to base 2. The softmax takes powers of e.": math.sqrt(squared / math.log(2)),
        }  # fmt: skip
        right = torch.tensor(math.sqrt(squared), dtype=torch.float64)
        wrong = {sentence: torch.tensor(value, dtype=torch.float64) for sentence, value in mistakes.items()}
        if not torch.isclose(found, right):
            for sentence, value in wrong.items():
                if torch.isclose(found, value):
                    raise Diagnosis(sentence)
            raise Diagnosis(f"{what} should be {right:.4f}, yours is {found:.4f}.")


@exercise(
    success="the bug is gone: the one scale is the one in q and k.",
    hints=[
        "Let z be the same at every step, and κ = 10. Which logits should come out, and which do?",
        "Read the formula in PyTorch's documentation of scaled_dot_product_attention. What does it do to q kᵀ?",
        "The length 1 of z is the scale. Tell the function to multiply by 1.0.",
    ],
)
def normalized_attention(answer: Any) -> None:
    """The repaired `normalized_attention(z, v, kappa, mu)`: z (time, key), v (time, value), kappa and mu (2, key)."""
    z, v = 3 * signal(1, 7, 9)[0], signal(1, 7, 2, seed=1)[0]
    kappa, mu = 2 + signal(1, 2, 9, seed=2)[0] / 2, signal(1, 2, 9, seed=3)[0] / 3
    unit = z / z.norm(dim=-1, keepdim=True)
    q, k = unit * kappa[0] + mu[0], unit * kappa[1] + mu[1]
    long_q, long_k = z * kappa[0] + mu[0], z * kappa[1] + mu[1]
    late_q, late_k = (t / t.norm(dim=-1, keepdim=True) for t in (long_q, long_k))
    out = expect_shape(answer(z, v, kappa, mu), (7, 2), "the output", "time value")
    expect_close(out, _attend(q, k, v), "the output", "time value", mistakes={
        "every logit is divided by √d_z = 3, although z has the length 1 already. scaled_dot_product_attention does "
        "this of its own accord unless it is told its scale.": _attend(q, k, v, 1 / 3),
        "the logits are multiplied by √d_z = 3 now. The default of scaled_dot_product_attention is a factor, not a "
        "divisor: give it the factor that changes nothing.": _attend(q, k, v, 3.0),
        "the logits are nine times too large now, d_z times. Give the factor that changes nothing.":
            _attend(q, k, v, 9.0),
        "the scale is right, but z is no longer normed. That part was fine.": _attend(long_q, long_k, v),
        "the scale is right, but now you norm after κ and μ. That part was fine.": _attend(late_q, late_k, v),
        "the scale is right, but the tokens see the future now. Leave `is_causal=True` in.":
            _attend(q, k, v, causal=False),
    })  # fmt: skip


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float = 1.0, causal: bool = True) -> Tensor:
    logits = scale * q @ k.T
    if causal:
        logits = logits.masked_fill(torch.ones_like(logits).triu(1).bool(), -math.inf)
    return logits.softmax(-1) @ v
