"""A student's answer as the checks see it: a function that lives in another process.

Arguments go there as plain numbers and values come back as plain numbers, made by the grader's own code. So no object
of the student's, with an `==` of its own, ever reaches a check, and the student's code never sees one.
"""

import inspect
import secrets
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from megalodon_edu.classroom.process import Gone, Process
from megalodon_edu.classroom.wire import Objects, Reference
from megalodon_edu.exercises.framework import Diagnosis, NotYet

MOST_QUESTIONS = 20_000
"""Calls back to the grader while one exercise is checked."""

PING = 2.0
"""Seconds within which a process answers that is in order."""

MOST_HANDED = 100_000
MOST_HANDED_IN_ALL = 3_000_000
"""Numbers that a student's code may hand to the grader in one question, and in all: enough for every check."""


class Foreign:
    """An object that stayed with the student; subclasses carry the name of its type."""

    def __init__(self, number: int) -> None:
        self.number = number


class ForeignTuple(tuple[Any, ...]):
    """A tuple with names, whose parts came over; handed back, it is the student's own again."""

    number: int


def _stand_in(reference: Reference) -> Any:
    if reference.kind == "tuple":
        parts = ForeignTuple(reference.items)
        parts.number = reference.number
        return parts
    return type(reference.name, (Foreign,), {})(reference.number)


def _number_of(value: Any) -> int | None:
    return value.number if isinstance(value, Foreign | ForeignTuple) else None


class Session:
    """One exercise of one notebook: its answer, prepared and called in the student's process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.objects = Objects(_stand_in, _number_of)
        self.tapes: list[tuple[list[Tensor], list[Tensor]]] = []
        self.leaves: list[Tensor] = []
        self.modules: list[nn.Module] = []
        self.questions = 0
        self.handed = 0
        self.calls = 0
        self.failed: str | None = None
        self.gone = False

    def answer(self, name: str) -> Any:
        """The answer of this name: a function, a kernel, or a plain value. Raises NotYet and Diagnosis without one."""
        found = self.do({"do": "prepare", "name": name})
        if found["is"] == "missing":
            raise NotYet(f"no cell of the notebook defines `{name}`. Has its cell been deleted, or its tag?")
        if found["is"] == "stopped":
            raise Diagnosis(f"the cell of `{name}` does not run: it {sentence(found['error'])}")
        if found.get("failed"):
            self.failed = sentence(found["failed"])
        if found["is"] == "value":
            return found["value_"]
        if found["is"] == "kernel":
            return RemoteKernel(self)
        return RemoteFunction(self, _signature(found["signature"]))

    def call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call the answer; writes what it changed in place into the arguments."""
        self.calls += 1
        self.modules = [value for value in args if isinstance(value, nn.Module)]
        learning = [value for value in args if isinstance(value, Tensor) and value.requires_grad]
        self.leaves = [*learning, *(parameter for module in self.modules for parameter in module.parameters())]
        result = self.do(_message(list(args), kwargs))
        if result["did"] == "stopped":
            raise_stopped(result["error"], "your code")
        self._take_over(result["leaves_"], [module.training for module in self.modules])
        for leaf, gradient in zip(self.leaves, result["gradients_"], strict=True):
            leaf.grad = gradient if isinstance(gradient, Tensor) and gradient.shape == leaf.shape else None
        for key, value in result["changed_"]:
            mine = args[key] if isinstance(key, int) else kwargs[key]
            if isinstance(mine, Tensor) and isinstance(value, Tensor) and mine.shape == value.shape:
                mine.copy_(value)
        return result["value_"]

    def do(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request, answer the questions that come before its result, and return that.

        Raises Diagnosis where the process ends meanwhile, or a function of the grader refuses what it is handed.
        """
        try:
            return self._converse(message)
        except Gone as gone:
            self.gone = True
            raise Diagnosis(f"your code {gone}.") from gone

    def _converse(self, message: dict[str, Any]) -> dict[str, Any]:
        self.process.send(message, self.objects)
        refused: Exception | None = None
        while "ask" in (reply := self.process.receive(self.objects)):
            self.questions += 1
            if self.questions > MOST_QUESTIONS:
                raise Diagnosis(f"your code called the functions it was given more than {MOST_QUESTIONS:,} times.")
            try:
                answer = self.asked(reply)
            except Exception as error:
                if isinstance(error, Diagnosis | NotYet):
                    refused = refused or error  # whatever the student's code makes of it
                answer = {"error": {"type": type(error).__name__, "message": str(error)[:1000]}}
            self.process.send(answer, self.objects)
        if refused is not None:
            raise refused
        if reply.get("did") not in (message["do"], "stopped") or ("error" not in reply and reply["did"] == "stopped"):
            self.process.end()
            raise Gone("sent the grader something that is no answer")
        return reply

    def in_step(self) -> bool:
        """Whether the process still answers what it is asked; if not, it is ended, and does no harm to what follows."""
        if self.gone:
            return False
        number = secrets.randbits(32)
        try:
            self.process.limit(PING)
            self.process.send({"do": "ping", "number": number}, self.objects)
            reply = self.process.receive(self.objects)
        except Gone:
            return False
        if reply != {"did": "ping", "number": number}:
            self.process.end()
            return False
        return True

    def asked(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer one question of the student's process."""
        if question["ask"] == "gradient":
            return self._gradient(question)
        args, kwargs = question["args_"]
        self.hand_in(_numbers((args, kwargs)))
        function = self.objects.known[question["number"]]
        self._take_over(question["leaves_"], question["modes"])
        if not question["learns"]:
            with torch.no_grad():
                return {"value_": function(*args, **kwargs)}
        inputs = [*(args[place].requires_grad_() for place in question["watched"]), *self.leaves]
        value = function(*args, **kwargs)
        parts = value if isinstance(value, tuple) else (value,)
        outputs = [part for part in parts if isinstance(part, Tensor)]
        self.tapes.append((inputs, outputs))
        return {"value_": value, "tape": len(self.tapes) - 1, "learns": [part.requires_grad for part in outputs]}

    def hand_in(self, numbers: int) -> None:
        """Count what the answer hands over. Raises Diagnosis where that is more than any check needs."""
        self.handed += numbers
        if numbers > MOST_HANDED or self.handed > MOST_HANDED_IN_ALL:
            raise Diagnosis(
                f"your code hands more than {MOST_HANDED:,} numbers at once to a function that it was given, or more "
                f"than {MOST_HANDED_IN_ALL:,} in all."
            )

    def _take_over(self, values: Sequence[Any], modes: Sequence[Any]) -> None:
        """Give what the answer trains the values that it has there, and the models their mode."""
        with torch.no_grad():
            for leaf, value in zip(self.leaves, values, strict=True):
                if not isinstance(value, Tensor) or value.shape != leaf.shape:
                    raise Diagnosis("your code changes the shape of something that it should train.")
                # A new value, not a change in place: earlier tapes still need the old one.
                leaf.data = value.to(leaf.dtype)
        for module, mode in zip(self.modules, modes, strict=True):
            module.train(bool(mode))

    def _gradient(self, question: dict[str, Any]) -> dict[str, Any]:
        self.hand_in(_numbers(question["args_"]))
        inputs, outputs = self.tapes[question["tape"]]
        pairs = [pair for pair in zip(outputs, question["args_"], strict=True) if pair[0].requires_grad]
        found = torch.autograd.grad(
            [output for output, _ in pairs], inputs, [gradient for _, gradient in pairs], retain_graph=True,
            allow_unused=True,
        )  # fmt: skip
        zeros = (torch.zeros_like(tensor) for tensor in inputs)
        return {"value_": [zero if gradient is None else gradient for gradient, zero in zip(found, zeros, strict=True)]}


def _message(args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call as a message. What has gradients or draws random numbers is described beside the arguments."""
    tensors, modules, generators = [], [], []
    for place, value in enumerate(args):
        if isinstance(value, Tensor) and value.requires_grad:
            tensors.append((place, value, value.grad))
        elif isinstance(value, nn.Module):
            parameters = [(name, parameter) for name, parameter in value.named_parameters()]
            modules.append((place, value, value.training, parameters))
        elif isinstance(value, torch.Generator):
            generators.append((place, value.get_state()))
        else:
            continue
        args[place] = None
    plain = {"do": "call", "args_": (args, kwargs)}
    return plain | {"tensors_": tensors, "modules_": modules, "generators_": generators}


class RemoteFunction:
    """The answer as a function."""

    def __init__(self, session: Session, signature: inspect.Signature) -> None:
        self.session = session
        self.__signature__ = signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it in the student's process. Raises Diagnosis where it stops, NotYet where it is a stub."""
        return self.session.call(args, kwargs)


class RemoteKernel:
    """The answer as a Triton kernel. Its memory is here, and it gets at it by asking."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A kernel is launched, not called."""
        raise TypeError("a kernel is launched on a grid, not called")

    def trace(self, grid: tuple[int, ...], tensors: dict[str, Tensor], *numbers: Any, **sizes: Any) -> Any:
        """Run the kernel's programs one after the other and return what they touched, as `kernels.tracing.trace`."""
        from megalodon_edu.classroom.remote_kernels import trace  # needs Triton

        return trace(self.session, grid, tensors, numbers, sizes)


def sentence(error: dict[str, Any]) -> str:
    """What became of the student's code: "stopped with NameError: ..., in line 3: `y = z`"."""
    line, text, message = error.get("line"), str(error.get("text", "")), str(error.get("message", ""))
    what = f"stopped with {error.get('type')}" + (f": {message}" if message else "")
    return f"{what}, in line {line}: `{text}`" if isinstance(line, int) else what


def raise_stopped(error: dict[str, Any], subject: str) -> None:
    """Raise what a check says about an exception: NotYet for a stub that says so, else Diagnosis."""
    if error.get("type") == "NotImplementedError" and "NotImplementedError" in str(error.get("text")):
        raise NotYet
    raise Diagnosis(f"{subject} {sentence(error)}")


def _signature(listed: Any) -> inspect.Signature:
    """The signature that the other process tells of, or one that takes everything."""
    kinds = list(inspect._ParameterKind)
    try:
        parameters = [
            inspect.Parameter(str(name), kinds[kind], default=None if has_default else inspect.Parameter.empty)
            for name, kind, has_default in listed
        ]
        return inspect.Signature(parameters)
    except (ValueError, TypeError, IndexError):
        return inspect.signature(lambda *args, **kwargs: None)


def _numbers(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        return _numbers(list(value.values()))
    return sum(map(_numbers, value)) if isinstance(value, list | tuple) else 0
