"""Values as bytes: what travels between the grader and the process that runs a student's answers.

A message is a JSON object, and behind it the raw numbers of its tensors. Nothing is ever unpickled, so whatever the
other side sends can become only what is listed here: None, ..., booleans, numbers, texts, dense tensors, dtypes,
tuples, lists, dictionaries, and references. A reference stands for an object that stays where it is: "mine" on the
side that sends it, "yours" when it comes home. Sizes are bounded before anything is allocated.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.models.config import MegalodonConfig

LENGTHS = struct.Struct(">II")
MOST_TEXT = 2**22
MOST_NUMBERS = 2**26
"""Bytes of the JSON part and of the tensors of one message."""

MOST_NODES = 100_000
MOST_REFERENCES = 1000
MOST_DEPTH = 30
MOST_DIGITS = 1000

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class WireError(ValueError):
    """Bytes that are no message, or a message that is too large."""


@dataclass
class Reference:
    """An object of the other side: its number there, its kind ("call", "object", "tuple") and what it calls itself."""

    number: int
    kind: str
    name: str
    items: tuple[Any, ...] = ()


@dataclass
class Objects:
    """The objects that one side has handed out by number, and how it shows the references that it receives.

    `show` makes a stand-in for a reference of the other side; `number_of` tells whether a value is such a stand-in.
    The student's side is `trusting`: it takes a model's configuration, which the grader's does not.
    """

    show: Callable[[Reference], Any]
    number_of: Callable[[Any], int | None]
    trusting: bool = False
    most: int = 100_000
    known: dict[int, Any] = field(default_factory=dict)

    def hand_out(self, value: Any) -> int:
        """A number for an object. Raises WireError where too many have been handed out."""
        if len(self.known) >= self.most:
            raise WireError("too many objects were handed out")
        self.known[len(self.known)] = value
        return len(self.known) - 1


def pack(message: dict[str, Any], objects: Objects) -> bytes:
    """A message as bytes. The value of a key that ends in "_" is any value; the others are plain JSON.

    Raises WireError for one that is too large.
    """
    tensors: list[bytes] = []
    plain = {key: _encode(value, objects, tensors, 0) if key[-1] == "_" else value for key, value in message.items()}
    text, numbers = json.dumps(plain).encode(), b"".join(tensors)
    if len(text) > MOST_TEXT or len(numbers) > MOST_NUMBERS:
        raise WireError(f"a message of {len(text) + len(numbers):,} bytes is too large")
    return LENGTHS.pack(len(text), len(numbers)) + text + numbers


def lengths(head: bytes) -> tuple[int, int]:
    """The lengths of the two parts of a message. Raises WireError for lengths beyond the bounds."""
    text, numbers = LENGTHS.unpack(head)
    if text > MOST_TEXT or numbers > MOST_NUMBERS:
        raise WireError(f"a message of {text + numbers:,} bytes is too large")
    return text, numbers


def unpack(text: bytes, numbers: bytes, objects: Objects) -> dict[str, Any]:
    """The message behind these bytes. Raises WireError for bytes that `pack` does not make."""
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict):
            raise WireError("a message must be an object")
        decoder = _Decoder(memoryview(numbers), objects)
        message = {key: decoder.value(node, 0) if key[-1:] == "_" else node for key, node in plain.items()}
        if decoder.at != len(numbers):
            raise WireError("there are more numbers than tensors")
        return message
    except WireError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise WireError(f"no message: {type(error).__name__}") from error


def _encode(value: Any, objects: Objects, tensors: list[bytes], depth: int) -> Any:
    """A value as JSON; what holds other things is a list that begins with a word."""
    if depth > MOST_DEPTH:
        raise WireError("the value is nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if value is Ellipsis:
        return ["ellipsis"]
    if (number := objects.number_of(value)) is not None:
        return ["yours", number]
    if isinstance(value, torch.dtype) and value in NAMES:
        return ["dtype", NAMES[value]]
    if isinstance(value, MegalodonConfig):
        return ["config", value.to_dict()]
    if isinstance(value, Tensor) and _is_plain(value):
        tensors.append(_bytes_of(value))
        return ["tensor", NAMES[value.dtype], list(value.shape)]
    if type(value) in (tuple, list, torch.Size):
        word = "list" if type(value) is list else "tuple"
        return [word, [_encode(part, objects, tensors, depth + 1) for part in value]]
    if type(value) is dict and all(type(key) is str for key in value):
        return ["dict", {key: _encode(part, objects, tensors, depth + 1) for key, part in value.items()}]
    kind = "call" if callable(value) else "tuple" if isinstance(value, tuple) else "object"
    items = [_encode(part, objects, tensors, depth + 1) for part in value] if kind == "tuple" else []
    return ["mine", objects.hand_out(value), kind, type(value).__name__, items]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.device.type == "cpu" and tensor.dtype in NAMES


def _bytes_of(tensor: Tensor) -> bytes:
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.flatten().view(torch.uint8).numpy().tobytes()


class _Decoder:
    def __init__(self, numbers: memoryview, objects: Objects) -> None:
        self.numbers, self.objects = numbers, objects
        self.at = self.nodes = self.references = 0

    def value(self, node: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > MOST_DEPTH or self.nodes > MOST_NODES:
            raise WireError("the value is nested too deeply, or has too many parts")
        if node is None or isinstance(node, bool | str | float):
            return node
        if isinstance(node, int):
            if node.bit_length() > 4 * MOST_DIGITS:
                raise WireError("a whole number has too many digits")
            return node
        word, *rest = node
        if word in ("tuple", "list"):
            parts = [self.value(part, depth + 1) for part in rest[0]]
            return tuple(parts) if word == "tuple" else parts
        if word == "dict":
            return {str(key): self.value(part, depth + 1) for key, part in rest[0].items()}
        if word == "tensor":
            return self._tensor(*rest)
        if word == "mine":
            number, kind, name, items = rest
            self.references += 1
            if self.references > MOST_REFERENCES:
                raise WireError("too many references")
            if type(number) is not int or kind not in ("call", "tuple", "object"):
                raise WireError("no reference")
            parts = [self.value(part, depth + 1) for part in items]
            return self.objects.show(Reference(number, kind, _word(name), tuple(parts)))
        if word == "yours":
            return self.objects.known[rest[0]]
        if word == "config" and self.objects.trusting:
            return MegalodonConfig.from_dict(*rest)
        plain: dict[str, Callable[..., Any]] = {
            "complex": complex,
            "ellipsis": lambda: Ellipsis,
            "dtype": DTYPES.__getitem__,
        }
        return plain[word](*rest)

    def _tensor(self, name: str, shape: list[int]) -> Tensor:
        dtype = DTYPES[name]
        count = 1
        for size in shape:
            if type(size) is not int or size < 0:
                raise WireError("no shape")
            count *= size
        size = count * dtype.itemsize
        if len(shape) > MOST_DEPTH or size > len(self.numbers) - self.at:
            raise WireError("a tensor is larger than its numbers")
        piece = bytearray(self.numbers[self.at : self.at + size])
        self.at += size
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        if dtype is torch.bool:  # any byte but 0 and 1 would be a boolean that is neither
            return (torch.frombuffer(piece, dtype=torch.uint8) != 0).reshape(shape)
        return torch.frombuffer(piece, dtype=dtype).reshape(shape)


def _word(name: Any) -> str:
    """The name of a class, as far as it is one."""
    name = str(name)[:40]
    return name if name.isidentifier() else "object"
