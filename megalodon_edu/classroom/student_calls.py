"""The student's side of every call: arguments in, values out, and calls back to functions that stay with the grader."""

import builtins
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.classroom.student import error_of, read_exactly, write_all
from megalodon_edu.classroom.wire import LENGTHS, Objects, Reference, lengths, pack, unpack


class Item:
    """Something that stays with the grader: it can be handed on and handed back, and shows its name."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name

    def __repr__(self) -> str:
        return self.name


class Stopped(Exception):
    """The grader's function refused to go on."""


class Grader:
    """The other end of the pipe."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies
        self.forget()

    def forget(self) -> None:
        """Begin with a new exercise: no object of the one before is known any more."""
        self.objects = Objects(self._show, _number_of, trusting=True)
        self.leaves: list[Tensor] = []
        self.modules: list[RemoteModule] = []

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. What cannot be sent is an error of the answer."""
        try:
            data = pack(message, self.objects)
        except Exception as error:  # a number of the student's own kind may raise anything
            data = pack({"did": "stopped", "error": error_of(error)}, self.objects)
        write_all(self.replies, data)

    def receive(self) -> dict[str, Any] | None:
        """The next message, None where the grader has closed the pipe."""
        head = read_exactly(self.requests, LENGTHS.size)
        if len(head) < LENGTHS.size:
            return None
        text, numbers = lengths(head)
        return unpack(read_exactly(self.requests, text), read_exactly(self.requests, numbers), self.objects)

    def attempt(self, action: Callable[..., dict[str, Any]], *details: Any) -> dict[str, Any]:
        """The message that the action returns, or one about what it raised."""
        try:
            return action(*details)
        except BaseException as error:
            return {"did": "stopped", "error": error_of(error)}

    def describe(self, answer: Any) -> dict[str, Any]:
        """What kind of answer this is."""
        if callable(answer) and inspect.isfunction(getattr(answer, "fn", None)):
            return {"is": "kernel"}
        if not callable(answer):
            return {"is": "value", "value_": answer}
        try:
            parameters = inspect.signature(answer).parameters.values()
        except (TypeError, ValueError):
            return {"is": "function", "signature": None}
        listed = [[p.name, int(p.kind), p.default is not p.empty] for p in parameters]
        return {"is": "function", "signature": listed}

    def call(self, answer: Any, message: dict[str, Any]) -> dict[str, Any]:
        """Call the answer; returns its value, the arguments that it changed in place, and what it has trained."""
        args, kwargs = message["args_"]
        self._learn(args, message)
        given: list[tuple[Any, Any]] = [*enumerate(args), *kwargs.items()]
        before = {key: value.clone() for key, value in given if isinstance(value, Tensor)}
        value = answer(*args, **kwargs)
        changed = [
            (key, current)
            for key, current in given
            if key in before and not (current.shape == before[key].shape and torch.equal(current, before[key]))
        ]
        gradients = [leaf.grad for leaf in self.leaves]
        return {
            "did": "call", "value_": value, "changed_": changed, "leaves_": self.leaves, "gradients_": gradients,
        }  # fmt: skip

    def _learn(self, args: list[Any], message: dict[str, Any]) -> None:
        """Put what has gradients, and what draws random numbers, into its place among the arguments."""
        self.leaves, self.modules = [], []
        for place, value, gradient in message["tensors_"]:
            args[place] = value.requires_grad_()
            args[place].grad = gradient
            self.leaves.append(args[place])
        for place, remote, training, parameters in message["modules_"]:
            args[place] = RemoteModule(remote, training, parameters)
            self.modules.append(args[place])
            self.leaves += args[place].parameters()
        for place, state in message["generators_"]:
            args[place] = torch.Generator()
            args[place].set_state(state)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask the grader for something, and wait. Raises what the grader's own function raised."""
        write_all(self.replies, pack(message, self.objects))
        reply = self.receive()
        if reply is None:
            raise Stopped("the grader is gone")
        if "error" in reply:
            kind = getattr(builtins, reply["error"]["type"], RuntimeError)
            is_usual = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if is_usual else RuntimeError)(reply["error"]["message"])
        return reply

    def prepare_kernel(self, answer: Any, message: dict[str, Any]) -> dict[str, Any]:
        """Get a Triton kernel ready to run; its memory stays with the grader."""
        from megalodon_edu.kernels.distant_memory import Question, program_runner  # needs Triton

        def ask(question: Question) -> Any:
            what, places, live, size, value, operation = question
            plain = {"ask": what, "size": size, "operation": operation}
            return self.ask(plain | {"args_": (places, live, value)})["value_"]

        tensors = [
            torch.empty(storage, dtype=dtype).as_strided(size, stride)
            for dtype, storage, size, stride in message["tensors_"]
        ]
        given = [*tensors, *message["numbers_"]]
        self.program = program_runner(answer, message["grid"], given, message["sizes_"], ask)
        return {"did": "kernel"}

    def run_program(self, number: list[int]) -> dict[str, Any]:
        """Run one program of the kernel's grid."""
        self.program(number)
        return {"did": "program"}

    def _show(self, reference: Reference) -> Any:
        is_call = reference.kind == "call"
        return Remote(reference.number, self) if is_call else Item(reference.number, reference.name)


class Remote:
    """A function of the grader. Gradients pass through it: the grader computes the products with its derivatives."""

    def __init__(self, number: int, grader: Grader) -> None:
        self.number, self.grader = number, grader

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the arguments, receive the value."""
        leaves = self.grader.leaves
        watched = [place for place, value in enumerate(args) if isinstance(value, Tensor) and value.requires_grad]
        learns = torch.is_grad_enabled() and bool(watched or leaves)
        question = {
            "ask": "call",
            "number": self.number,
            "modes": [module.training for module in self.grader.modules],
            "watched": watched if learns else [],
            "learns": learns,
        }
        if not learns:
            return self.grader.ask(question | {"args_": (list(args), kwargs), "leaves_": list(leaves)})["value_"]
        seen = _Seen()

        def through(tensors: Sequence[Tensor]) -> None:
            given = list(args)
            for place, tensor in zip(watched, tensors, strict=False):
                given[place] = tensor
            values = list(tensors[len(watched) :])
            reply = self.grader.ask(question | {"args_": (given, kwargs), "leaves_": values})
            seen.whole, seen.tape, seen.learns = reply["value_"], reply["tape"], reply["learns"]

        def back(tape: int, gradients: Sequence[Tensor]) -> list[Tensor]:
            return list(self.grader.ask({"ask": "gradient", "tape": tape, "args_": list(gradients)})["value_"])

        outputs = list(_Through.apply(through, back, seen, *(args[place] for place in watched), *leaves)[1:])
        if not isinstance(seen.whole, tuple):
            return outputs[0] if isinstance(seen.whole, Tensor) else seen.whole
        return tuple(outputs.pop(0) if isinstance(part, Tensor) else part for part in seen.whole)


class RemoteModule(torch.nn.Module):
    """A model of the grader. Its parameters are here, to be trained; what it computes with them is computed there."""

    def __init__(self, remote: Remote, training: bool, parameters: Sequence[tuple[str, Tensor]]) -> None:
        super().__init__()
        self._remote = remote
        self.training = training
        for name, value in parameters:
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(value))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the grader's model returns."""
        return self._remote(*args, **kwargs)


class _Seen:
    """What came back from a call: its value, the number of its tape, and which of its tensors have a gradient."""

    whole: Any = None
    tape: int = 0
    learns: Sequence[bool] = ()

    def tensors(self) -> list[Tensor]:
        parts = self.whole if isinstance(self.whole, tuple) else (self.whole,)
        return [part for part in parts if isinstance(part, Tensor)]


class _Through(torch.autograd.Function):
    """The call itself; its first output is the number under which the grader keeps what the gradient needs."""

    @staticmethod
    def forward(through: Any, back: Any, seen: _Seen, *tensors: Tensor) -> tuple[Any, ...]:
        through(tensors)
        return torch.tensor(seen.tape), *seen.tensors()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.back = inputs[1]
        fixed = [tensor for tensor, learns in zip(output[1:], inputs[2].learns, strict=True) if not learns]
        ctx.mark_non_differentiable(output[0], *fixed)
        ctx.save_for_backward(output[0])

    @staticmethod
    def backward(ctx: Any, _: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (tape,) = ctx.saved_tensors
        return None, None, None, *_Back.apply(ctx.back, tape, *gradients)


class _Back(torch.autograd.Function):
    """The product of a gradient with the derivatives; over many gradients at once, one after another."""

    @staticmethod
    def forward(back: Any, tape: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(back(int(tape), gradients))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("the second derivative of this function is not available")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], back: Any, tape: Tensor, *gradients: Tensor) -> Any:
        rows = [
            _Back.apply(
                back, tape, *(_row(gradient, dim, at) for gradient, dim in zip(gradients, in_dims[2:], strict=True))
            )
            for at in range(info.batch_size)
        ]
        columns = tuple(torch.stack(column) for column in zip(*rows, strict=True))
        return columns, (0,) * len(columns)


def _number_of(value: Any) -> int | None:
    value = getattr(value, "_remote", value) if isinstance(value, RemoteModule) else value
    return value.number if isinstance(value, Item | Remote) else None


def _row(tensor: Tensor, dim: int | None, at: int) -> Tensor:
    return tensor if dim is None else tensor.select(dim, at)
