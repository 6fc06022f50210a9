"""Checks of arguments: every error names the argument, the value received and the remedy."""

from collections.abc import Collection
from numbers import Real
from typing import Any

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


def require_filled(name: str, value: Tensor) -> None:
    """Raise ValueError if a dimension of the tensor has the size 0."""
    if value.numel() == 0:
        raise ValueError(f"{name} must not be empty, got the shape {tuple(value.shape)}; leave empty pieces out")


def require_floating(name: str, value: Tensor) -> None:
    """Raise TypeError unless the tensor holds real floating-point numbers."""
    if not value.is_floating_point():
        remedy = f"take {name}.real" if value.is_complex() else f"convert it with {name}.float()"
        raise TypeError(f"{name} must hold floating-point numbers, got {value.dtype}; {remedy}")


def require_integers(name: str, value: Tensor) -> None:
    """Raise TypeError unless the tensor holds integers; bool is refused too."""
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {value.dtype}; use {name}.long()")


def require_finite(name: str, value: Tensor) -> None:
    """Raise ValueError if a number is infinite or NaN. Only values on a CPU are looked at, see `_can_look`."""
    if _can_look(value) and not bool(value.isfinite().all()):
        count = int((~value.isfinite()).sum())
        raise ValueError(f"{name} must be finite, got {count} infinite or NaN of {value.numel()}; find what made them")


def require_state(name: str, value: object, kind: Any, without: Collection[str] = ()) -> None:
    """Raise TypeError unless the value is a state of that kind, a NamedTuple, with all parts but `without`."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be None or {kind.__name__}, got {type(value).__name__}; "
            "pass the state that the previous call of the same module returned"
        )
    for field, part in zip(kind._fields, value, strict=True):
        if part is None and field not in without:
            raise TypeError(f"{name}.{field} is None; pass the whole state that the previous call returned")
        if part is not None and field in without:
            raise TypeError(f"{name}.{field} must be None, for this module has no such part; pass its own state")


def require_instance(name: str, value: object, kind: type, remedy: str) -> None:
    """Raise TypeError unless the value is an instance of `kind`; `remedy` says how to get one."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}; {remedy}")


def require_positive(name: str, value: int, least: int = 1) -> None:
    """Raise unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def require_divisor(name: str, value: int, whole_name: str, whole: int) -> None:
    """Raise unless `value` and `whole` are integers of at least 1 and the first divides the second."""
    require_positive(name, value)
    require_positive(whole_name, whole)
    if whole % value:
        raise ValueError(
            f"{name} must divide {whole_name}, got {name}={value} and {whole_name}={whole}; change one of them"
        )


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise unless `value` is a number and low <= value <= high."""
    require_number(name, value)
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {value}")


def require_above_zero(name: str, value: float) -> None:
    """Raise unless `value` is a finite number above 0."""
    require_number(name, value)
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def require_number(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")


def require_bool(name: str, value: object) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def require_device_of(name: str, value: Tensor, x: Tensor) -> None:
    """Raise ValueError unless the tensor is on the device of x."""
    if value.device != x.device:
        raise ValueError(f"{name} is on {value.device} and x on {x.device}; move one with .to()")


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def require_unit_interval(name: str, value: Tensor) -> None:
    """Raise TypeError unless the tensor holds real numbers, ValueError unless all lie in (0, 1] (NaN does not).

    Only values on a CPU are looked at, see `_can_look`.
    """
    require_floating(name, value)
    if _can_look(value) and not bool(((value > 0) & (value <= 1)).all()):
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


def _can_look(value: Tensor) -> bool:
    """True on a CPU: on a GPU a look at the values would make every call wait for the device."""
    return value.device.type == "cpu" and not torch.compiler.is_compiling()
