"""One product of matrices, written in two ways: as `tl.dot`, and as a sum over products."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_choice, require_tensor
from megalodon_edu.kernels.availability import require_kernels

WAYS = ("sum", "ieee", "tf32", "tf32x3")


@triton.jit
def product_kernel(a_ptr, b_ptr, c_ptr, SIDE: tl.constexpr, WAY: tl.constexpr):
    """One product a b of two matrices (SIDE, SIDE)."""
    n = tl.arange(0, SIDE)
    at = (tl.program_id(0) * SIDE + n[:, None]) * SIDE + n[None, :]
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    c = tl.sum(a[:, :, None] * b[None, :, :], 1) if WAY == "sum" else tl.dot(a, b, input_precision=WAY)
    tl.store(c_ptr + at, c)


def products(
    a: Float[Tensor, "matrix row column"], b: Float[Tensor, "matrix row column"], way: str
) -> Float[Tensor, "matrix row column"]:
    """a b in float32 for many square matrices whose side is a power of 2, at least 16. `way` is one of WAYS."""
    require_tensor("a", a, "matrix row column")
    require_tensor("b", b, "matrix row column", matrix=a.shape[0], row=a.shape[1], column=a.shape[1])
    require_choice("way", way, WAYS)
    require_kernels(a.device)
    c = torch.empty_like(a)
    product_kernel[(len(a),)](a.contiguous(), b.contiguous(), c, SIDE=a.shape[1], WAY=way)
    return c
