"""Checks of arguments: every error names the argument, the value received and the remedy."""

from collections.abc import Collection

import torch
from torch import Tensor


def require_tensor(name: str, value: object, dimensions: str, /, **sizes: int) -> Tensor:
    """Return `value` if it is a tensor with these dimensions, for example "batch time channel", channel=8.

    Raises TypeError if it is no tensor, ValueError if the number of dimensions or a named size differs.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch tensor ({dimensions}), got {type(value).__name__}")
    names = dimensions.split()
    expected = ", ".join(f"{word}={sizes[word]}" if word in sizes else word for word in names)
    if value.ndim != len(names):
        raise ValueError(f"{name} must have the shape ({expected}), got {tuple(value.shape)}; reshape or unsqueeze it")
    for word, size in zip(names, value.shape, strict=True):
        if word in sizes and size != sizes[word]:
            raise ValueError(f"{name} must have the shape ({expected}), got {tuple(value.shape)}: {word} is {size}")
    return value


def require_floating(name: str, value: Tensor) -> None:
    """Raise TypeError unless the tensor holds real floating-point numbers."""
    if not value.is_floating_point():
        raise TypeError(f"{name} must hold floating-point numbers, got {value.dtype}; convert it with {name}.float()")


def require_state(name: str, value: object, kind: type) -> None:
    """Raise TypeError unless the value is a state of that kind."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be None or {kind.__name__}, got {type(value).__name__}; "
            "pass the state that the previous call of the same module returned"
        )


def require_positive(name: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {value}")


def require_above_zero(name: str, value: float) -> None:
    """Raise ValueError unless value is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def require_unit_interval(name: str, value: Tensor) -> None:
    """Raise ValueError unless every element lies strictly above 0 and at most at 1 (NaN is refused too).

    Only values on a CPU are looked at: on a GPU the look would make every call wait for the device.
    """
    if value.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not bool(((value > 0) & (value <= 1)).all()):
        low, high = value.min().item(), value.max().item()
        raise ValueError(
            f"{name} must lie in (0, 1], got values from {low:.4g} to {high:.4g}; pass a logit through sigmoid"
        )


def require_device(name: str, device: torch.device | str) -> torch.device:
    """Return the device if it is a CPU or a CUDA GPU; raise ValueError otherwise."""
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{name} must be cpu or cuda, got {device.type}: it lacks complex or float64 arithmetic")
    return device
