"""Plausible wrong answers to the exercises of chapter 12."""

import math

import torch
from torch.nn import functional as F

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter12 as solutions


def schedule(step, steps, peak, warmup, final, *, rise=None, angle=None):
    rise = min(1, (step + 1) / warmup) if rise is None else rise
    angle = math.pi * step / steps if angle is None else angle
    return peak * rise * (final + (1 - final) * (1 + math.cos(angle)) / 2)


@mutant(of="learning_rate", says="the warm-up is missing")
def no_warmup(step, steps, peak, warmup, final):
    return schedule(step, steps, peak, warmup, final, rise=1)


@mutant(of="learning_rate", says="the first step has the rate 0")
def first_step_idle(step, steps, peak, warmup, final):
    return schedule(step, steps, peak, warmup, final, rise=min(1, step / warmup))


@mutant(of="learning_rate", says="the rate falls to 0")
def to_zero(step, steps, peak, warmup, final):
    return schedule(step, steps, peak, warmup, 0)


@mutant(of="learning_rate", says="your cosine comes back up")
def whole_period(step, steps, peak, warmup, final):
    return schedule(step, steps, peak, warmup, final, angle=2 * math.pi * step / steps)


@mutant(of="learning_rate", says="`final` is added on top")
def final_added(step, steps, peak, warmup, final):
    return peak * min(1, (step + 1) / warmup) * (final + (1 + math.cos(math.pi * step / steps)) / 2)


@mutant(of="learning_rate", says="the fall is missing")
def no_fall(step, steps, peak, warmup, final):
    return schedule(step, steps, peak, warmup, final, angle=0)


@mutant(of="learning_rate", says="your cosine begins when the warm-up ends")
def cosine_after_warmup(step, steps, peak, warmup, final):
    late = math.pi * max(0, step - warmup) / (steps - warmup)
    return schedule(step, steps, peak, warmup, final, angle=late)


@mutant(of="learning_rate", says="multiply by `peak`")
def share_of_the_peak(step, steps, peak, warmup, final):
    return schedule(step, steps, 1, warmup, final)


@mutant(of="learning_rate", says="the rate first differs at step 0")
def in_degrees(step, steps, peak, warmup, final):
    return peak * min(1, (step + 1) / warmup) * (final + (1 - final) * (1 + math.cos(180 * (step + 1) / steps)) / 2)


def cut(tokens, starts, length):
    return tokens[starts[:, None] + torch.arange(length + 1)]


@mutant(of="windows", says="the last window is never drawn")
def last_left_out(tokens, batch, length, generator):
    return cut(tokens, torch.randint(0, len(tokens) - length - 1, (batch,), generator=generator), length)


@mutant(of="windows", says="the first window is never drawn")
def first_left_out(tokens, batch, length, generator):
    return cut(tokens, torch.randint(1, len(tokens) - length, (batch,), generator=generator), length)


@mutant(of="windows", says="IndexError")
def beyond_the_end(tokens, batch, length, generator):
    return cut(tokens, torch.randint(0, len(tokens), (batch,), generator=generator), length)


@mutant(of="windows", says="go on at its beginning")
def wrapped(tokens, batch, length, generator):
    starts = torch.randint(0, len(tokens), (batch,), generator=generator)
    return tokens[(starts[:, None] + torch.arange(length + 1)) % len(tokens)]


@mutant(of="windows", says="the target of the last input")
def without_last_target(tokens, batch, length, generator):
    return solutions.windows(tokens, batch, length, generator)[:, :-1]


@mutant(of="windows", says="all windows of a batch begin at the same place")
def one_start(tokens, batch, length, generator):
    start = torch.randint(0, len(tokens) - length, (1,), generator=generator)
    return cut(tokens, start.expand(batch), length)


@mutant(of="windows", says="multiples of 4 only")
def side_by_side(tokens, batch, length, generator):
    blocks = (len(tokens) - 1) // length
    return cut(tokens, length * torch.randint(0, blocks, (batch,), generator=generator), length)


@mutant(of="windows", says="not every start is equally likely")
def clamped(tokens, batch, length, generator):
    starts = torch.randint(0, len(tokens), (batch,), generator=generator).clamp(max=len(tokens) - length - 1)
    return cut(tokens, starts, length)


@mutant(of="windows", says="pass `generator` on")
def own_dice(tokens, batch, length, generator):
    return cut(tokens, torch.randint(0, len(tokens) - length, (batch,)), length)


@mutant(of="windows", says="yours are always the same")
def always_the_same(tokens, batch, length, generator):
    return solutions.windows(tokens, batch, length, torch.Generator().manual_seed(1))


@mutant(of="windows", says="a piece of the text as it stands")
def shuffled(tokens, batch, length, generator):
    return tokens[torch.randint(0, len(tokens), (batch, length + 1), generator=generator)]


@mutant(of="bits_per_byte", says="these are nats per byte")
def nats(losses):
    return solutions.bits_per_byte(losses) * math.log(2)


@mutant(of="bits_per_byte", says="you multiply by ln 2")
def wrong_way(losses):
    return solutions.bits_per_byte(losses) * math.log(2) ** 2


@mutant(of="bits_per_byte", says="you take the mean of means")
def mean_of_means(losses):
    return sum(one.mean().item() for one in losses) / len(losses) / math.log(2)


@mutant(of="bits_per_byte", says="the mean of means, and in nats")
def mean_of_means_in_nats(losses):
    return sum(one.mean().item() for one in losses) / len(losses)


@mutant(of="bits_per_byte", says="the bits of everything")
def not_divided(losses):
    return sum(one.sum().item() for one in losses) / math.log(2)


@mutant(of="bits_per_byte", says="you divide by the number of documents")
def by_documents(losses):
    return not_divided.answer(losses) / len(losses)


@mutant(of="bits_per_byte", says="that is the perplexity")
def perplexity(losses):
    return math.exp(nats.answer(losses))


@mutant(of="bits_per_byte", says="only the last document is counted")
def last_document(losses):
    for one in losses:
        score = one.mean().item() / math.log(2)
    return score


@mutant(of="accumulate", says="about three times too long")
def unweighted(loss_of, weight, batch, parts):
    weight.grad = None
    for part in batch.chunk(parts):
        loss_of(part).backward()
    return weight.grad


@mutant(of="accumulate", says="the last part here holds 1 window")
def equal_weights(loss_of, weight, batch, parts):
    weight.grad = None
    for part in batch.chunk(parts):
        (loss_of(part) / parts).backward()
    return weight.grad


@mutant(of="accumulate", says="something clears the gradient between the parts")
def cleared_inside(loss_of, weight, batch, parts):
    for part in batch.chunk(parts):
        weight.grad = None
        (loss_of(part) * len(part) / len(batch)).backward()
    return weight.grad


@mutant(of="accumulate", says="without its weight")
def last_alone(loss_of, weight, batch, parts):
    for part in batch.chunk(parts):
        (gradient,) = torch.autograd.grad(loss_of(part), weight)
    return gradient


@mutant(of="accumulate", says="loss_of is a mean already")
def divided_by_the_batch(loss_of, weight, batch, parts):
    return unweighted.answer(loss_of, weight, batch, parts) / len(batch)


@mutant(of="accumulate", says="added to the gradient")
def old_gradient_kept(loss_of, weight, batch, parts):
    for part in batch.chunk(parts):
        (loss_of(part) * len(part) / len(batch)).backward()
    return weight.grad


@mutant(of="accumulate", says="you gave the whole batch to loss_of")
def all_at_once(loss_of, weight, batch, parts):
    return torch.autograd.grad(loss_of(batch), weight)[0]


@mutant(of="accumulate", says="with one part the gradient")
def halved_alone(loss_of, weight, batch, parts):
    gradient = solutions.accumulate(loss_of, weight, batch, parts)
    return gradient / 2 if parts == 1 else gradient


def loop(model, batches, rate, *, zero="before", leak=False, step=True, after=False, same=False, sign=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    state, losses = None, []
    for batch in batches:
        inputs, targets = batch[:, :-1], batch[:, :-1] if same else batch[:, 1:]

        def loss_of(state, inputs=inputs, targets=targets):
            logits, new = model(inputs, state)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), new

        before = state if leak else None
        loss, state = loss_of(before)
        if zero == "before":
            optimizer.zero_grad()
        (sign * loss).backward()
        if zero == "after":
            optimizer.zero_grad()
        if step:
            optimizer.step()
        losses.append(loss_of(before)[0].item() if after else loss.item())
    return losses


@mutant(of="training_loop", says="step 2 still carries those of steps 0 and 1")
def gradients_pile_up(model, batches, rate):
    return loop(model, batches, rate, zero="never")


@mutant(of="training_loop", says="the state leaks")
def state_leaks(model, batches, rate):
    return loop(model, batches, rate, leak=True)


@mutant(of="training_loop", says="one more thing is wrong")
def both_bugs(model, batches, rate):
    return loop(model, batches, rate, zero="never", leak=True)


@mutant(of="training_loop", says="the gradient is emptied after `backward`")
def emptied_too_late(model, batches, rate):
    return loop(model, batches, rate, zero="after")


@mutant(of="training_loop", says="the parameters are never changed")
def no_step(model, batches, rate):
    return loop(model, batches, rate, step=False)


@mutant(of="training_loop", says="the loss is taken after the step")
def loss_after_the_step(model, batches, rate):
    return loop(model, batches, rate, after=True)


@mutant(of="training_loop", says="the inputs are their own targets")
def own_targets(model, batches, rate):
    return loop(model, batches, rate, same=True)


@mutant(of="training_loop", says="the step goes uphill")
def uphill(model, batches, rate):
    return loop(model, batches, rate, sign=-1)


@mutant(of="training_loop", says="evaluation mode")
def in_evaluation_mode(model, batches, rate):
    return loop(model.eval(), batches, rate)


@mutant(of="training_loop", says="one loss for each of the 5 batches")
def last_loss_only(model, batches, rate):
    return loop(model, batches, rate)[-1]


@mutant(of="training_loop", says="the loss of step 1 should be")
def half_the_rate(model, batches, rate):
    return loop(model, batches, rate / 2)
