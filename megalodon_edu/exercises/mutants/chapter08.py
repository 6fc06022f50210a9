"""Plausible wrong answers to the exercises of chapter 08."""

import math
from dataclasses import replace

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter08 as solutions


@mutant(of="surprise", says="these are nats")
def nats(logits, tokens):
    return solutions.surprise(logits, tokens) * math.log(2)


@mutant(of="surprise", says="you multiply by ln 2")
def nats_made_smaller(logits, tokens):
    return nats.answer(logits, tokens) * math.log(2)


@mutant(of="surprise", says="the sign")
def negative(logits, tokens):
    return -solutions.surprise(logits, tokens)


@mutant(of="surprise", says="these are probabilities")
def probabilities(logits, tokens):
    return logits[:-1].softmax(-1).gather(1, tokens[1:, None])[:, 0]


@mutant(of="surprise", says="which the model had just read")
def same_place(logits, tokens):
    log_p = logits[:-1].log_softmax(-1)
    return -log_p.gather(1, tokens[:-1, None])[:, 0] / math.log(2)


@mutant(of="surprise", says="they lack the softmax")
def raw_logits(logits, tokens):
    return -logits[:-1].gather(1, tokens[1:, None])[:, 0] / math.log(2)


@mutant(of="surprise", says="9 numbers for 9 tokens")
def every_row(logits, tokens):
    return -logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0] / math.log(2)


@mutant(of="surprise", says="you return one number")
def mean(logits, tokens):
    return solutions.surprise(logits, tokens).mean()


def other_count(name, says, count):
    """A mutant of `count_parameters` whose count is `count(config, right)`."""

    def answer(config):
        return count(config, solutions.count_parameters(config))

    answer.__name__ = name
    return mutant(of="count_parameters", says=says)(answer)


no_head = other_count(
    "no_head", "the head is missing", lambda c, n: n if c.share_emb else n - c.vocab_size * c.model_dim
)
no_tables = other_count("no_tables", "two tables", lambda c, n: n - 2 * c.vocab_size * c.model_dim)
tied_head_counted = other_count(
    "tied_head_counted",
    "the embedding itself",
    lambda c, n: solutions.count_parameters(replace(c, share_emb=False)),
)
no_fc3 = other_count("no_fc3", "which you leave out", lambda c, n: solutions.count_parameters(replace(c, swiglu=False)))
always_fc3 = other_count(
    "always_fc3", "with SwiGLU only", lambda c, n: solutions.count_parameters(replace(c, swiglu=True))
)
no_biases = other_count(
    "no_biases", "biases of W_v", lambda c, n: n - c.num_layers * (2 * c.value_dim + c.z_dim + c.model_dim)
)
bias_too_many = other_count("bias_too_many", "you give W_h2 a bias", lambda c, n: n + c.num_layers * c.model_dim)
no_kappa_and_mu = other_count("no_kappa_and_mu", "κ and μ are missing", lambda c, n: n - 4 * c.num_layers * c.z_dim)
one_kappa_and_mu = other_count("one_kappa_and_mu", "one row each", lambda c, n: n - 2 * c.num_layers * c.z_dim)
separate_queries_and_keys = other_count(
    "separate_queries_and_keys",
    "They share z",
    lambda c, n: n + c.num_layers * (c.model_dim + 1) * c.z_dim,
)
real_gamma = other_count(
    "real_gamma", "gamma of CEMA is complex", lambda c, n: n - c.num_layers * c.model_dim * c.cema_ndim
)
theta_for_each_mode = other_count(
    "theta_for_each_mode", "theta of CEMA", lambda c, n: n + c.num_layers * c.model_dim * (c.cema_ndim - 1)
)
no_omega = other_count("no_omega", "CEMA's omega or the gain", lambda c, n: n - c.num_layers * c.model_dim)
no_rescale = other_count(
    "no_rescale", "has an alpha", lambda c, n: solutions.count_parameters(replace(c, rescale_nffn=False))
)
norm_forgotten = other_count(
    "norm_forgotten", "in each layer a norm is missing", lambda c, n: n - 2 * c.num_layers * c.model_dim
)
no_final_norm = other_count("no_final_norm", "the final norm is missing", lambda c, n: n - 2 * c.model_dim)
head_with_bias = other_count("head_with_bias", "something outside the layers", lambda c, n: n + c.model_dim)
all_times_layers = other_count("all_times_layers", "multiplied by the layers", lambda c, n: n * c.num_layers)
off_by_one = other_count("off_by_one", "you are 1 too high", lambda c, n: n + 1)


def other_bytes(name, says, cache=None, cema=8, norm=8):
    """A mutant of `layer_bytes`: numbers in the cache by config and tokens, bytes of a mode and of the count."""

    def answer(config, tokens, number_bytes):
        held = tokens % config.chunk_size
        kept = (config.z_dim + config.value_dim) * held if cache is None else cache(config, tokens)
        return kept * number_bytes + config.model_dim * config.cema_ndim * cema + norm + 8 * config.norm_num_groups

    answer.__name__ = name
    return mutant(of="layer_bytes", says=says)(answer)


no_count = other_bytes("no_count", "the count n", norm=0)
real_state = other_bytes("real_state", "CEMA's h is complex", cema=4)
no_average = other_bytes("no_average", "CEMA's h is missing", cema=0)
no_values = other_bytes("no_values", "count both", cache=lambda c, tokens: tokens % c.chunk_size * c.z_dim)
values_like_keys = other_bytes(
    "values_like_keys", "values are wider", cache=lambda c, tokens: tokens % c.chunk_size * 2 * c.z_dim
)
growing = other_bytes("growing", "goes on growing", cache=lambda c, tokens: tokens * (c.z_dim + c.value_dim))
never_emptied = other_bytes(
    "never_emptied",
    "stays full",
    cache=lambda c, tokens: min(tokens, c.chunk_size) * (c.z_dim + c.value_dim),
)
full_at_the_edge = other_bytes(
    "full_at_the_edge",
    "a full chunk is never kept",
    cache=lambda c, tokens: (tokens % c.chunk_size or c.chunk_size) * (c.z_dim + c.value_dim),
)


@mutant(of="layer_bytes", says="the sum over all layers")
def every_layer(config, tokens, number_bytes):
    return solutions.layer_bytes(config, tokens, number_bytes) * config.num_layers


@mutant(of="layer_bytes", says="the norm is missing")
def no_norm(config, tokens, number_bytes):
    return solutions.layer_bytes(config, tokens, number_bytes) - 8 - 8 * config.norm_num_groups


@mutant(of="layer_bytes", says="stays complex64")
def everything_short(config, tokens, number_bytes):
    average = config.model_dim * config.cema_ndim * 8
    return solutions.layer_bytes(config, tokens, number_bytes) - average + average * number_bytes // 4


@mutant(of="layer_bytes", says="one layer keeps")
def a_byte_too_many(config, tokens, number_bytes):
    return solutions.layer_bytes(config, tokens, number_bytes) + 1


@mutant(of="write", says="the prompt's last token goes in twice")
def last_token_twice(model, prompt, count):
    _, state = model(prompt[None], None)
    step, written = prompt[None, -1:], []
    for _ in range(count):
        logits, state = model(step, state)
        written.append(logits[0, -1].argmax())
        step = written[-1].view(1, 1)
    return torch.stack(written)


@mutant(of="write", says="you start from the beginning for every token")
def no_state(model, prompt, count):
    text = prompt[None]
    for _ in range(count):
        logits, _ = model(text, None)
        text = torch.cat([text, logits[:, -1:].argmax(-1)], 1)
    return text[0, len(prompt) :]


@mutant(of="write", says="hears every token more than once")
def state_and_all_the_text(model, prompt, count):
    text, state = prompt[None], None
    for _ in range(count):
        logits, state = model(text, state)
        text = torch.cat([text, logits[:, -1:].argmax(-1)], 1)
    return text[0, len(prompt) :]


@mutant(of="write", says="forgotten what it read")
def state_dropped(model, prompt, count):
    step, written = prompt[None], []
    for _ in range(count):
        logits, _ = model(step, None)
        written.append(logits[0, -1].argmax())
        step = written[-1].view(1, 1)
    return torch.stack(written)


@mutant(of="write", says="the first row of logits")
def first_row(model, prompt, count):
    step, state, written = prompt[None], None, []
    for _ in range(count):
        logits, state = model(step, state)
        written.append(logits[0, 0].argmax())
        step = written[-1].view(1, 1)
    return torch.stack(written)


@mutant(of="write", says="you return the prompt too")
def prompt_returned(model, prompt, count):
    return torch.cat([prompt, solutions.write(model, prompt, count)])


@mutant(of="write", says="not a list")
def list_returned(model, prompt, count):
    return solutions.write(model, prompt, count).tolist()


@mutant(of="write", says="of the shape (1, time)")
def no_batch(model, prompt, count):
    return solutions.write(lambda tokens, state: model(tokens[0], state), prompt, count)


@mutant(of="write", says="new token 0 should be")
def likeliest_left_out(model, prompt, count):
    return (solutions.write(model, prompt, count) + 1) % 11


@mutant(of="run_stack", says="layer 1 takes the state that layer 0 has just left")
def as_given(x, layers, states=None):
    state, after = None, []
    for number, layer in enumerate(layers):
        if states is not None:
            state = states[number]
        x, state = layer(x, state)
        after.append(state)
    return x, after


@mutant(of="run_stack", says="every layer gets the state of layer 0")
def first_state_for_all(x, layers, states=None):
    return solutions.run_stack(x, layers, None if states is None else [states[0]] * len(layers))


@mutant(of="run_stack", says="the states that come in are not used")
def states_ignored(x, layers, states=None):
    return solutions.run_stack(x, layers)


@mutant(of="run_stack", says="a list of 2 states")
def last_state_alone(x, layers, states=None):
    x, after = solutions.run_stack(x, layers, states)
    return x, after[-1:]


@mutant(of="run_stack", says="the state of layer 0")
def states_backwards(x, layers, states=None):
    x, after = solutions.run_stack(x, layers, states)
    return x, after[::-1]
