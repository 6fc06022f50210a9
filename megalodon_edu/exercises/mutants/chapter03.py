"""Plausible wrong answers to the exercises of chapter 03."""

import math

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter03 as solutions


@mutant(of="complex_ema", says="the skip is missing")
def no_skip(x, alpha, delta, theta, eta, skip, state=None):
    return solutions.complex_ema(x, alpha, delta, theta, eta, 0 * skip, state)


@mutant(of="complex_ema", says="the size of q is 1 - αδ")
def delta_forgotten(x, alpha, delta, theta, eta, skip, state=None):
    return solutions.complex_ema(x, alpha, torch.ones_like(delta), theta, eta, skip, state)


@mutant(of="complex_ema", says="the paper's Eq 2")
def input_turned(x, alpha, delta, theta, eta, skip, state=None):
    y, h = solutions.complex_ema(x, alpha, delta, theta, eta * torch.exp(1j * theta), skip, state)
    return y, h


@mutant(of="complex_ema", says="the real part of h before")
def real_part_too_early(x, alpha, delta, theta, eta, skip, state=None):
    return solutions.complex_ema(x, alpha, delta, theta, eta.real, skip, state)


@mutant(of="complex_ema", says="y is complex")
def real_part_forgotten(x, alpha, delta, theta, eta, skip, state=None):
    y, h = solutions.complex_ema(x, alpha, delta, theta, eta, skip, state)
    return y + 0j, h


@mutant(of="complex_ema", says="half of the memory")
def state_made_real(x, alpha, delta, theta, eta, skip, state=None):
    y, h = solutions.complex_ema(x, alpha, delta, theta, eta, skip, state)
    return y, h.real


@mutant(of="complex_ema", says="already multiplied by η")
def state_read_out(x, alpha, delta, theta, eta, skip, state=None):
    y, h = solutions.complex_ema(x, alpha, delta, theta, eta, skip, state)
    return y, eta * h


@mutant(of="complex_ema", says="the incoming state is not used")
def state_ignored(x, alpha, delta, theta, eta, skip, state=None):
    return solutions.complex_ema(x, alpha, delta, theta, eta, skip)


@mutant(of="pole", says="δ is missing")
def size_without_delta(alpha, delta, theta):
    return torch.polar(1 - alpha, theta)


@mutant(of="pole", says="what a step loses")
def size_of_the_loss(alpha, delta, theta):
    return torch.polar(alpha * delta, theta)


@mutant(of="pole", says="as degrees")
def angle_in_degrees(alpha, delta, theta):
    return torch.polar(1 - alpha * delta, torch.deg2rad(theta))


@mutant(of="pole", says="q is real")
def cosine_only(alpha, delta, theta):
    return (1 - alpha * delta) * torch.cos(theta)


@mutant(of="pole", says="never fade")
def turn_without_fading(alpha, delta, theta):
    return torch.exp(1j * theta)


@mutant(of="half_life_of_pole", says="you use the real part")
def from_the_real_part(q):
    return math.log(0.5) / math.log(abs(q.real))


@mutant(of="half_life_of_pole", says="the time constant")
def time_constant(q):
    return -1 / math.log(abs(q))


@mutant(of="half_life_of_pole", says="negative")
def sign_lost(q):
    return math.log(2) / math.log(abs(q))


@mutant(of="half_life_of_pole", says="the squared size")
def squared_size(q):
    return math.log(0.5) / math.log(abs(q) ** 2)


@mutant(of="half_life_of_pole", says="should be 3.106 steps, yours is 0.625")
def without_logarithms(q):
    return 0.5 / abs(q)


@mutant(of="kernel_real_part", says="the rhythm is gone")
def size_of_the_sum(p, q, eta, length):
    return ((eta * p)[..., None] * q[..., None] ** torch.arange(length)).sum(1).abs()


@mutant(of="kernel_real_part", says="nothing needs to be doubled")
def conjugates_doubled(p, q, eta, length):
    return 2 * solutions.kernel_real_part(p, q, eta, length)


@mutant(of="kernel_real_part", says="turned on its way in")
def phase_on_the_input(p, q, eta, length):
    return solutions.kernel_real_part(p * q / q.abs(), q, eta, length)


@mutant(of="kernel_real_part", says="the imaginary part of η")
def real_eta(p, q, eta, length):
    return solutions.kernel_real_part(p, q, eta.real, length)


@mutant(of="kernel_real_part", says="one row per mode")
def modes_not_summed(p, q, eta, length):
    return ((eta * p)[..., None] * q[..., None] ** torch.arange(length)).real


@mutant(of="mix_modes", says="before η")
def bug_left_in(x, p, q, eta):
    return solutions.mix_modes(x, p, q, eta.real + 0j)


@mutant(of="mix_modes", says="must stay complex")
def real_state(x, p, q, eta):
    return solutions.mix_modes(x, p, q.real + 0j, eta)


@mutant(of="mix_modes", says="wrong sign")
def conjugate_eta(x, p, q, eta):
    return solutions.mix_modes(x, p, q, eta.conj())
