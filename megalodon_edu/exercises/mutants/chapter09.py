"""Plausible wrong answers to the exercises of chapter 09."""

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter09 as solutions


@mutant(of="layer_flops", says="half of it")
def multiply_adds(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) / 2


@mutant(of="layer_flops", says="looks at the whole context")
def no_chunk(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, context + 1, context)


@mutant(of="layer_flops", says="always looks at a whole chunk")
def whole_chunk(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, chunk - 1)


@mutant(of="layer_flops", says="also looks at itself")
def not_itself(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * (z + value)


@mutant(of="layer_flops", says="not as the keys")
def keys_as_wide_as_values(dim, z, value, ffn, swiglu, chunk, context):
    seen = context % chunk + 1
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) + 2 * seen * (z - value)


@mutant(of="layer_flops", says="adding up the values is missing")
def only_scores(dim, z, value, ffn, swiglu, chunk, context):
    seen = context % chunk + 1
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * seen * value


@mutant(of="layer_flops", says="the feed-forward part is missing")
def no_feed_forward(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, 0, swiglu, chunk, context)


@mutant(of="layer_flops", says="one matrix of the feed-forward part is missing")
def two_matrices_always(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, False, chunk, context)


@mutant(of="layer_flops", says="one matrix of the feed-forward part is too many")
def three_matrices_always(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, True, chunk, context)


@mutant(of="layer_flops", says="the projections around the attention are missing")
def no_projections(dim, z, value, ffn, swiglu, chunk, context):
    around = 2 * dim * (z + 3 * value + dim)
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - around


@mutant(of="layer_flops", says="the attention itself is missing")
def no_attention(dim, z, value, ffn, swiglu, chunk, context):
    seen = context % chunk + 1
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * seen * (z + value)


@mutant(of="layer_flops", says="W_h1, which is dim × dim, is missing")
def no_short_cut(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * dim * dim


@mutant(of="layer_flops", says="one of the three matrices of dim × value")
def no_gate(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * dim * value


@mutant(of="layer_flops", says="W_z, which is dim × z, is missing")
def no_shared_projection(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) - 2 * dim * z


@mutant(of="layer_flops", says="queries and keys share one projection")
def two_projections(dim, z, value, ffn, swiglu, chunk, context):
    return solutions.layer_flops(dim, z, value, ffn, swiglu, chunk, context) + 2 * dim * z


@mutant(of="peak_and_kept", says="the peak first")
def swapped(events):
    return solutions.peak_and_kept(events)[::-1]


@mutant(of="peak_and_kept", says="everything that was ever taken")
def sum_of_all(events):
    return sum(event for event in events if event > 0), sum(events)


@mutant(of="peak_and_kept", says="the largest single event")
def largest_event(events):
    return max([0, *events]), sum(events)


@mutant(of="peak_and_kept", says="what is alive at the end, 4; on the way")
def only_the_end(events):
    return sum(events), sum(events)


@mutant(of="peak_and_kept", says="the bytes left at the end are 4")
def never_given_back(events):
    return solutions.peak_and_kept(events)[0], sum(event for event in events if event > 0)


@mutant(of="run_on_ranks", says="no state went from one rank to the next")
def every_rank_alone(layer, x, ranks):
    spans = x.tensor_split(ranks, dim=1)
    return torch.cat([layer(span, None)[0] for span in spans], 1), (ranks - 1) * x.shape[0] * x.shape[2]


@mutant(of="run_on_ranks", says="the state of the first one")
def first_state_for_all(layer, x, ranks):
    spans = x.tensor_split(ranks, dim=1)
    y, state = layer(spans[0], None)
    return torch.cat([y, *(layer(span, state)[0] for span in spans[1:])], 1), (ranks - 1) * state.numel()


@mutant(of="run_on_ranks", says="no step twice")
def everything_on_every_rank(layer, x, ranks):
    outputs = [layer(x, None)[0] for _ in range(ranks)]
    return outputs[0], (ranks - 1) * x.shape[0] * x.shape[2]


@mutant(of="run_on_ranks", says="nobody to send to")
def last_rank_sends_too(layer, x, ranks):
    y, sent = solutions.run_on_ranks(layer, x, ranks)
    return y, sent + x.shape[0] * x.shape[2]


@mutant(of="run_on_ranks", says="you count the outputs")
def counts_outputs(layer, x, ranks):
    y, _ = solutions.run_on_ranks(layer, x, ranks)
    return y, y.numel()


@mutant(of="run_on_ranks", says="1 states of 6 numbers, 6 in all; yours says 1")
def counts_messages(layer, x, ranks):
    y, _ = solutions.run_on_ranks(layer, x, ranks)
    return y, ranks - 1


@mutant(of="chunked_pairs", says="you count the last chunk as full")
def the_planted_bug(tokens, chunk):
    chunks = (tokens + chunk - 1) // chunk
    return chunks * chunk * (chunk + 1) // 2


@mutant(of="chunked_pairs", says="after the last full chunk are not counted")
def rest_dropped(tokens, chunk):
    return tokens // chunk * (chunk * (chunk + 1) // 2)


@mutant(of="chunked_pairs", says="looks at a whole chunk")
def rest_sees_a_whole_chunk(tokens, chunk):
    full, rest = divmod(tokens, chunk)
    return full * chunk * (chunk + 1) // 2 + rest * chunk


@mutant(of="chunked_pairs", says="you count squares")
def squares(tokens, chunk):
    full, rest = divmod(tokens, chunk)
    return full * chunk**2 + rest**2


@mutant(of="chunked_pairs", says="a token with itself")
def without_itself(tokens, chunk):
    return solutions.chunked_pairs(tokens, chunk) - tokens


@mutant(of="chunked_pairs", says="across the edges")
def one_triangle(tokens, chunk):
    return tokens * (tokens + 1) // 2
