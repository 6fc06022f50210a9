import pytest
import torch

from megalodon_edu.measure.device_floor import Floor, Rates, Work, floor, measure_rates
from megalodon_edu.measure.device_timing import Timing, median_on_device, peak_bytes

CPU = torch.device("cpu")
RATES = Rates(bytes_per_second=1e12, flops_per_second=1e14)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (Work(2_000_000_000, 0), Floor(2e-3, "bytes")),
        (Work(0, 10**12), Floor(1e-2, "flops")),
        (Work(10**10, 10**12), Floor(1e-2, "bytes")),
        (Work(10**10, 2 * 10**12), Floor(2e-2, "flops")),
    ],
)
def test_the_floor_is_the_larger_time(work, expected):
    found = floor(work, RATES)
    assert found.seconds == pytest.approx(expected.seconds) and found.bound == expected.bound


def test_rates_count_bytes_both_ways_and_two_operations_for_a_product():
    clock = iter(range(100))  # every call takes one second
    found = measure_rates(CPU, torch.float32, copied_bytes=1000, width=8, repeats=3, clock=lambda: float(next(clock)))
    assert found == Rates(2 * 1000, 2 * 8**3)


def test_the_median_is_of_the_calls_after_the_warm_up():
    now, costs = {"now": 0.0}, iter([90.0, 70.0, 3.0, 5.0, 4.0])

    def call():
        now["now"] += next(costs)

    assert median_on_device(call, CPU, repeats=3, warmup=2, clock=lambda: now["now"]) == Timing(4.0, "clock")


@pytest.mark.parametrize("name", ["repeats", "warmup"])
def test_a_measurement_needs_a_call_of_either_kind(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        median_on_device(lambda: None, CPU, **{name: 0})


@pytest.mark.parametrize("name", ["copied_bytes", "width"])
def test_a_rate_needs_a_size(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        measure_rates(CPU, torch.float32, **{name: 0})


def test_the_peak_is_above_what_was_there():
    given = torch.ones(1000)
    assert peak_bytes(lambda: given + 1 + 1, CPU) == 8000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_on_a_gpu_a_call_that_waits_is_timed_without_a_graph_and_leaves_the_stream_alone():
    device = torch.device("cuda")
    x = torch.ones(1000, device=device)
    before = torch.cuda.current_stream()
    assert median_on_device(lambda: x + 1, device).how == "CUDA graph"
    assert median_on_device(lambda: (x + 1).sum().item(), device).how == "CUDA events"
    assert median_on_device(lambda: x + 1, device, graph=False).how == "CUDA events"
    assert torch.cuda.current_stream() == before
    assert peak_bytes(lambda: x + 1, device) == 4096  # PyTorch hands out multiples of 512 bytes
