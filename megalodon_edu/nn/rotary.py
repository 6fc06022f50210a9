"""The rotary embedding as a module: the sines and cosines of its positions are computed once."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from megalodon_edu.arguments import require_positive
from megalodon_edu.ops.rotary import angles, turn


class Rotary(nn.Module):
    """`ops.rotary.rotate` at positions 0 .. positions - 1; a table instead of a float64 cosine for every number.

    The table belongs to no checkpoint, and stays in float64 whatever type the model around it takes.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, positions: int, base: float = 10_000.0):
        super().__init__()
        require_positive("positions", positions)
        self.positions = positions
        table = angles(torch.arange(positions), width, base)
        self.register_buffer("cos", table.cos(), persistent=False)
        self.register_buffer("sin", table.sin(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep, recurse)

    def forward(
        self, x: Float[Tensor, "batch time head width"], positions: Int[Tensor, " time"]
    ) -> Float[Tensor, "batch time head width"]:
        """x with every pair turned by its angle. Positions beyond the table are not looked for: the caller bounds them.

        Raises TypeError or ValueError where x does not fit.
        """
        return turn(x, self.cos[positions], self.sin[positions])
