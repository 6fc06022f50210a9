"""How far every Triton kernel is from float64, and whether a second run gives the same bits.

Of a tensor a and its truth b the error is ‖a - b‖ / ‖b‖. Gradients are those of a sum of all outputs with random
weights.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.device_timing import release
from megalodon_edu.measure.error_cases import ErrorCase, Face, Plan, error_cases
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.timing import Row

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""The error that a tensor may have, by the type of the activations."""

NOTHING = 1e-12
"""Numbers of a truth that are this small on average are 0 but for the rounding of float64."""


def kernel_errors(plan: Plan, device: torch.device, dtypes: Sequence[torch.dtype], repeats: int = 1) -> Iterator[Row]:
    """Yield, for each operator, type, shape and past, the error of every output and gradient, and the worst of them.

    An error of None is not finite. `same_bits` says whether `repeats` further runs gave the same. `within` is True
    where they did and no error is above the limit. A case that fails is not within, and `note` says why.
    Raises ValueError or TypeError for repeats below 1.
    """
    require_positive("repeats", repeats)
    for dtype in dtypes:
        for case in error_cases(plan, device, dtype):
            limit = LIMITS[dtype] if case.limit is None else case.limit
            row: Row = {
                "work": case.work,
                "dtype": str(dtype).removeprefix("torch."),
                "shape": case.shape,
                "past": case.past,
                "limit": limit,
            }
            try:
                errors, same = _measured(case, repeats)
            except Exception as error:
                release(device)
                yield row | _nothing_measured(why_it_failed(error))
                continue
            worst = max(errors, key=errors.__getitem__)
            yield row | {
                "errors": {name: error if math.isfinite(error) else None for name, error in errors.items()},
                "worst": worst,
                "same_bits": same,
                "within": same and errors[worst] <= limit,
            }


def _nothing_measured(note: str) -> Row:
    return {"errors": {}, "worst": None, "same_bits": None, "within": False, "note": note}


def _measured(case: ErrorCase, repeats: int) -> tuple[dict[str, float], bool]:
    """The errors by the tensor's name, and whether all runs gave the same bits."""
    inputs = case.inputs()
    kernel = case.kernel()
    found = _tensors(case, kernel, inputs)
    same = True
    for _ in range(repeats):
        again = _tensors(case, kernel, inputs)
        same = same and all(torch.equal(found[name], again[name]) for name in found)
        del again
    truth = _tensors(case, case.truth, {name: _wide(tensor) for name, tensor in inputs.items()})
    return {name: relative_error(tensor, truth[name]) for name, tensor in found.items()}, same


def _tensors(case: ErrorCase, face: Face, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs and, each as "d" and the input's name, the gradients."""
    given = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    wanted = {name: tensor.requires_grad_() for name, tensor in given.items() if case.trains and _has_gradient(tensor)}
    outputs = dict(zip(case.outputs, face(*given.values()), strict=True))
    found = {name: tensor.detach() for name, tensor in outputs.items()}
    if case.trains:
        parts = [tensor for tensor in outputs.values() if _has_gradient(tensor)]
        gradients = torch.autograd.grad(parts, list(wanted.values()), [_weights(part) for part in parts])
        found |= {f"d{name}": gradient for name, gradient in zip(wanted, gradients, strict=True)}
    return found


def _has_gradient(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _weights(part: Tensor) -> Tensor:
    """Random numbers that bfloat16 holds: the same for a part of this shape in every type."""
    draw = torch.Generator(part.device).manual_seed(1)
    kind = torch.complex64 if part.is_complex() else torch.float32
    numbers = torch.randn(part.shape, generator=draw, device=part.device, dtype=kind)
    if part.is_complex():
        return torch.view_as_complex(torch.view_as_real(numbers).bfloat16().float()).to(part.dtype)
    return numbers.bfloat16().to(part.dtype)


def _wide(tensor: Tensor) -> Tensor:
    """In float64 or complex128; integers and masks as they are."""
    if not _has_gradient(tensor):
        return tensor
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def relative_error(found: Tensor, truth: Tensor) -> float:
    """‖found - truth‖ / ‖truth‖, infinite where a number is not finite.

    A truth of zeros has no size to compare with: there it is the root mean square of `found`, 0 for no numbers at all.
    Raises ValueError where the shapes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"found must have the shape of the truth {tuple(truth.shape)}, got {tuple(found.shape)}")
    kind = torch.complex128 if truth.is_complex() else torch.float64
    numbers = max(1, truth.numel()) ** 0.5
    away, size = (tensor.norm().item() for tensor in (found.to(kind) - truth.to(kind), truth.to(kind)))
    error = away / (numbers if size <= NOTHING * numbers else size)
    return error if math.isfinite(error) else math.inf
