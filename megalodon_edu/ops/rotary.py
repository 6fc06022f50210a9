"""Rotary position embedding: a vector is turned, pair by pair, by an angle that grows with its position.

Pairs are neighbours (2i, 2i+1); pair i turns by position · base^(-2i/width) radians, so that the product of a query
and a key depends on their distance only. Su et al. (arXiv:2104.09864), Eq 34.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_above_zero, require_floating, require_integers, require_tensor


def frequencies(width: int, base: float, device: torch.device | str | None = None) -> Float[Tensor, " pair"]:
    """base^(-2i/width) for i = 0 .. width/2 - 1, in float64. Raises ValueError for an odd width or a bad base."""
    if width < 2 or width % 2:
        raise ValueError(f"width must be even and at least 2 to form pairs, got {width}")
    require_above_zero("base", base)
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)


def angles(positions: Int[Tensor, " time"], width: int, base: float) -> Float[Tensor, "time pair"]:
    """position · base^(-2i/width) in float64. Raises TypeError or ValueError for bad positions, width or base."""
    require_tensor("positions", positions, "time")
    require_integers("positions", positions)
    return positions[:, None].double() * frequencies(width, base, positions.device)


def rotate(
    x: Float[Tensor, "batch time head width"], positions: Int[Tensor, " time"], base: float
) -> Float[Tensor, "batch time head width"]:
    """Turn every pair of x by its angle. Raises TypeError or ValueError where x and positions do not fit."""
    require_tensor("x", x, "batch time head width")
    require_tensor("positions", positions, "time", time=x.shape[1])
    angle = angles(positions, x.shape[-1], base)
    return turn(x, angle.cos(), angle.sin())


def turn(
    x: Float[Tensor, "batch time head width"], cos: Float[Tensor, "time pair"], sin: Float[Tensor, "time pair"]
) -> Float[Tensor, "batch time head width"]:
    """Turn every pair of x by the angle whose cosine and sine are given, in at least float32.

    Raises TypeError or ValueError where x does not fit.
    """
    require_tensor("x", x, "batch time head width", time=cos.shape[0], width=2 * cos.shape[1])
    require_floating("x", x)
    work = torch.promote_types(x.dtype, torch.float32)
    cos, sin = (table.to(work)[:, None, :] for table in (cos, sin))
    even, odd = x.to(work).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)
