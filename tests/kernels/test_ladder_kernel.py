"""Every rung of chapter 11 against the loop in float64, and the program that measures them."""

import pytest
import torch

from megalodon_edu.kernels.ladder import complex_ema as cema
from megalodon_edu.kernels.ladder import timestep_norm as norm
from megalodon_edu.kernels.ladder.products import WAYS, products
from megalodon_edu.measure import ladder as measure
from megalodon_edu.ops.complex_ema import complex_ema_reference, harmonic_angles
from megalodon_edu.ops.timestep_norm import timestep_norm_reference

CEMA = {
    "naive": cema.naive,
    "rows": cema.rows,
    "chunks": lambda x, c: cema.chunks(x, c, tensor_cores=False),
    "tensor cores": lambda x, c: cema.chunks(x, c, tensor_cores=True),
    "tiles": cema.tiles,
}


def coefficients(channels, modes=16):
    torch.manual_seed(0)
    alpha, delta = torch.rand(2, channels, modes, dtype=torch.float64) * 0.8 + 0.1
    theta = harmonic_angles(torch.rand(channels, dtype=torch.float64), modes)
    eta = torch.randn(channels, modes, dtype=torch.complex128) / 4
    return alpha, delta, theta, eta, torch.randn(channels, dtype=torch.float64)


@pytest.mark.parametrize("batch, length, steps", [(2, 32, 32), (1, 96, 32)])
@pytest.mark.parametrize("name", CEMA)
def test_every_rung_of_cema_against_the_loop(device, name, batch, length, steps):
    ready = [c.to(device) for c in coefficients(32)]
    x = torch.randn(batch, length, 32, device=device)
    truth, _ = complex_ema_reference(x.double(), *ready)
    y = CEMA[name](x, cema.prepare(*ready, steps=steps))
    assert (y.double() - truth).norm() <= 1e-6 * truth.norm()


@pytest.mark.parametrize("name", ["rows", "tensor cores", "tiles"])
def test_bfloat16_goes_through(device, name):
    ready = [c.to(device) for c in coefficients(32)]
    x = torch.randn(1, 64, 32, device=device).bfloat16()
    truth, _ = complex_ema_reference(x.double(), *ready)
    y = CEMA[name](x, cema.prepare(*ready, steps=32))
    assert y.dtype == torch.bfloat16
    assert (y.double() - truth).norm() <= 1e-2 * truth.norm()


def test_what_a_rung_of_cema_cannot_take_is_refused(device):
    ready = [c.to(device) for c in coefficients(32)]
    c = cema.prepare(*ready, steps=32)
    x = torch.zeros(1, 64, 32, device=device)
    with pytest.raises(ValueError, match="whole number of segments of 32 steps.*got length 63; the package's kernel"):
        cema.tiles(x[:, :63].contiguous(), c)
    with pytest.raises(ValueError, match="x must be contiguous"):
        cema.naive(x.mT.contiguous().mT, c)
    with pytest.raises(ValueError, match="alpha must have the shape"):
        cema.prepare(*(part.to(device) for part in coefficients(32, modes=8)))
    narrow = [part[:16] for part in ready]
    with pytest.raises(ValueError, match="x must have a multiple of 32 channels, got 16"):
        cema.rows(x[..., :16].contiguous(), cema.prepare(*narrow, steps=32))


@pytest.mark.parametrize("face", [norm.walk, norm.two_passes])
@pytest.mark.parametrize("length", [1, norm.TOKENS + 9])
def test_every_rung_of_timestep_norm_against_the_loop(device, face, length):
    torch.manual_seed(length)
    x = 3 + torch.randn(2, length, 24, device=device)
    weight, bias = torch.randn(2, 24, device=device)
    truth, _ = timestep_norm_reference(x.double(), weight, bias, 3)
    assert (face(x, weight, bias, 3).double() - truth).norm() <= 1e-5 * truth.norm()


def test_the_running_sums_go_on_after_a_block(device):
    x = torch.randn(1, 1100, 4, device=device)
    weight, bias = torch.zeros(2, 4, device=device)
    truth, _ = timestep_norm_reference(x.double(), weight, bias, 1)
    torch.testing.assert_close(norm.two_passes(x, weight, bias, 1).double(), truth, rtol=1e-4, atol=1e-4)


def test_a_group_of_timestep_norm_has_a_power_of_two_of_features(device):
    weight, bias = torch.zeros(2, 6, device=device)
    with pytest.raises(ValueError, match="power of 2 of features, got 3"):
        norm.walk(torch.zeros(1, 4, 6, device=device), weight, bias, 2)


@pytest.mark.parametrize("way", WAYS)
def test_products_of_matrices(device, way):
    a, b = torch.randn(2, 3, 16, 16, device=device)
    limit = 1e-2 if way in ("sum", "tf32") else 1e-5  # a GPU's compiler turns the sum into a product in TF32
    assert (products(a, b, way) - a @ b).norm() <= limit * (a @ b).norm()


def test_every_rung_is_measured_and_compared_with_float64(device):
    cema_times = measure._cema((1, 16, 32), device, repeats=1)
    norm_times = measure._timestep_norm((1, 8, 64), device, repeats=1)
    assert [time.rung for time in cema_times] == [*measure.CEMA_RUNGS, measure.PACKAGE, measure.BACKWARD]
    assert [time.rung for time in norm_times] == [*measure.NORM_RUNGS, measure.PACKAGE, measure.BACKWARD]
    for time in cema_times + norm_times:
        assert time.milliseconds > 0
        assert time.error is None or time.error < 1e-2
    errors = measure.product_errors(device)
    assert errors.keys() == set(WAYS) and errors["ieee"] < 1e-6
