"""Floating-point operations of the matrix products that a program really carries out."""

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(function: Callable[[], object]) -> int:
    """Call the function once and count its matrix products, a multiplication and an addition as two operations.

    PyTorch's counter does not know the fused attention of a CPU, so attention is carried out as plain products here.
    Those compute the whole square of pairs, also the half that the causal mask throws away.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()
