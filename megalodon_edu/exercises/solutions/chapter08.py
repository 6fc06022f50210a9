"""Solutions of chapter 08, Megalodon assembled."""

import math

import torch


def surprise(logits, tokens):
    log_p = logits[:-1].log_softmax(-1)
    return -log_p.gather(1, tokens[1:, None])[:, 0] / math.log(2)


def count_parameters(config):
    c = config
    width, z, value, modes = c.model_dim, c.z_dim, c.value_dim, c.cema_ndim
    norms = 2 * width + width + 2 * width  # Timestep Norm, RMSNorm, LayerNorm
    cema = width * (2 * modes + 2 * modes + 1 + 1)  # alpha and delta, gamma, theta, omega
    products = 2 * (width + 1) * value + (width + 1) * z + (width + 1) * width + value * width
    feed_forward = (3 if c.swiglu else 2) * width * c.ffn_hidden_dim + (width if c.rescale_nffn else 0)
    layer = norms + cema + products + 4 * z + feed_forward
    tables = (1 if c.share_emb else 2) * c.vocab_size * width
    return tables + c.num_layers * layer + 2 * width


def layer_bytes(config, tokens, number_bytes):
    held = tokens % config.chunk_size
    cache = held * (config.z_dim + config.value_dim) * number_bytes
    cema = config.model_dim * config.cema_ndim * 8
    norm = 8 + 2 * config.norm_num_groups * 4
    return cache + cema + norm


def write(model, prompt, count):
    step, state, written = prompt[None], None, []
    for _ in range(count):
        logits, state = model(step, state)
        written.append(logits[0, -1].argmax())
        step = written[-1].view(1, 1)
    return torch.stack(written)


def run_stack(x, layers, states=None):
    after = []
    for number, layer in enumerate(layers):
        state = None if states is None else states[number]
        x, state = layer(x, state)
        after.append(state)
    return x, after
