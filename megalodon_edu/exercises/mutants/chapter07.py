"""Plausible wrong answers to the exercises of chapter 07."""

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter07 as solutions


@mutant(of="two_hop_block", says="that is the pre-norm block")
def pre_norm(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return x + update + feed_forward(x + update), state


@mutant(of="two_hop_block", says="your feed-forward reads X")
def attention_unheard(x, attention, feed_forward, state=None):
    _, state = attention(x, state)
    return x + feed_forward(x), state


@mutant(of="two_hop_block", says="stand side by side")
def parallel_block(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return x + update + feed_forward(x), state


@mutant(of="two_hop_block", says="the first hop is missing")
def one_hop(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return x + feed_forward(update), state


@mutant(of="two_hop_block", says="X arrives twice")
def two_skips_added(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return x + x + feed_forward(x + update), state


@mutant(of="two_hop_block", says="you add X to a pre-norm block")
def third_skip(x, attention, feed_forward, state=None):
    y, state = pre_norm.answer(x, attention, feed_forward, state)
    return x + y, state


@mutant(of="two_hop_block", says="the second hop is missing")
def nothing_carries_x(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return feed_forward(x + update), state


@mutant(of="two_hop_block", says="that is Ŷ")
def stopped_half_way(x, attention, feed_forward, state=None):
    update, state = attention(x, state)
    return x + update, state


@mutant(of="two_hop_block", says="should be the state that attention returned")
def old_state_returned(x, attention, feed_forward, state=None):
    y, _ = solutions.two_hop_block(x, attention, feed_forward, state)
    return y, state


@mutant(of="two_hop_block", says="the incoming state is not used")
def state_not_handed_on(x, attention, feed_forward, state=None):
    return solutions.two_hop_block(x, attention, feed_forward)


@mutant(of="two_hop_block", says="return two things")
def state_forgotten(x, attention, feed_forward, state=None):
    return solutions.two_hop_block(x, attention, feed_forward, state)[0]


@mutant(of="gradient_profile", says="backwards")
def last_place_first(x, blocks, probe):
    return solutions.gradient_profile(x, blocks, probe).flip(0)


@mutant(of="gradient_profile", says="size of the stream")
def stream_instead(x, blocks, probe):
    stream = [x]
    for block in blocks:
        stream.append(block(stream[-1]))
    return torch.stack([values.square().mean().sqrt() for values in stream])


def measured(x, blocks, probe, size):
    stream = [x.detach().requires_grad_()]
    for block in blocks:
        stream.append(block(stream[-1]))
    return torch.stack([size(gradient) for gradient in torch.autograd.grad((probe * stream[-1]).sum(), stream)])


@mutant(of="gradient_profile", says="you take the norm")
def norm_for_rms(x, blocks, probe):
    return measured(x, blocks, probe, torch.norm)


@mutant(of="gradient_profile", says="mean of the sizes")
def mean_of_sizes(x, blocks, probe):
    return measured(x, blocks, probe, lambda gradient: gradient.abs().mean())


@mutant(of="gradient_profile", says="the root is missing")
def no_root(x, blocks, probe):
    return measured(x, blocks, probe, lambda gradient: gradient.square().mean())


@mutant(of="gradient_profile", says="4 numbers for 4 blocks")
def end_left_out(x, blocks, probe):
    return solutions.gradient_profile(x, blocks, probe)[:-1]


@mutant(of="gradient_profile", says="your gradient stops at each block")
def cut_at_each_block(x, blocks, probe):
    sizes = []
    for block in blocks:
        x = x.detach().requires_grad_()
        y = block(x)
        sizes.append(torch.autograd.grad((probe * y).sum(), x)[0].square().mean().sqrt())
        x = y
    return torch.stack([*sizes, probe.square().mean().sqrt()])


@mutant(of="gradient_profile", says="return one tensor, not a list")
def left_as_a_list(x, blocks, probe):
    return solutions.gradient_profile(x, blocks, probe).tolist()


@mutant(of="first_silent_block", says="last block that is still heard")
def one_too_early(update, dtype):
    return solutions.first_silent_block(update, dtype) - 1


@mutant(of="first_silent_block", says="your sum is a Python float")
def python_floats(update, dtype):
    return next(layer for layer in range(100) if 1 + 0.1 * 0.5**layer * update == 1)


@mutant(of="first_silent_block", says="the factor 0.1 is missing")
def tenth_forgotten(update, dtype):
    return solutions.first_silent_block(10 * update, dtype)


@mutant(of="first_silent_block", says="the update itself is missing")
def scale_alone(update, dtype):
    return solutions.first_silent_block(1.0, dtype)


@mutant(of="first_silent_block", says="you wait until the update is 0")
def waits_for_zero(update, dtype):
    return next(layer for layer in range(200) if torch.tensor(0.1 * 0.5**layer * update, dtype=dtype) == 0)


@mutant(of="first_silent_block", says="is not 0. Add up and look")
def always_the_first(update, dtype):
    return 0


@mutant(of="two_hop_stack", says="not two blocks")
def the_planted_bug(x, blocks):
    before = x
    for attention, feed_forward in blocks:
        y_hat = x + attention(x)
        x, before = before + feed_forward(y_hat), x
    return x


@mutant(of="two_hop_stack", says="you have a pre-norm block")
def stack_of_pre_norm(x, blocks):
    for attention, feed_forward in blocks:
        x = x + attention(x)
        x = x + feed_forward(x)
    return x


@mutant(of="two_hop_stack", says="X arrives twice")
def both_skips_at_the_end(x, blocks):
    for attention, feed_forward in blocks:
        x = x + x + feed_forward(x + attention(x))
    return x


@mutant(of="two_hop_stack", says="nothing carries X over")
def no_second_hop(x, blocks):
    for attention, feed_forward in blocks:
        x = feed_forward(x + attention(x))
    return x


@mutant(of="two_hop_stack", says="never hears the first")
def every_block_reads_the_start(x, blocks):
    for attention, feed_forward in blocks:
        y = x + feed_forward(x + attention(x))
    return y


@mutant(of="two_hop_stack", says="the output of the first is added twice")
def block_before_added_too(x, blocks):
    before = 0
    for attention, feed_forward in blocks:
        x, before = x + feed_forward(x + attention(x)) + before, x + feed_forward(x + attention(x))
    return x


@mutant(of="two_hop_stack", says="the stack's input is added once more")
def start_added_to_later_blocks(x, blocks):
    start = 0 * x
    for attention, feed_forward in blocks:
        x, start = x + feed_forward(x + attention(x)) + start, x if not start.any() else start
    return x


@mutant(of="two_hop_stack", says="two blocks are right; with three")
def third_block_left_out(x, blocks):
    return solutions.two_hop_stack(x, blocks[:2])
