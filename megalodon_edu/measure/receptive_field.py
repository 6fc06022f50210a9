"""The receptive-field microscope: how strongly does each input step move each output step?

    F_{t,s} = ‖∂y_t / ∂x_s‖          the Frobenius norm of the block (channels of y_t) × (channels of x_s)

Row t is an output, column s an input. Everything above the diagonal is the future: a causal layer has zeros there.
The derivative is taken at one x, so it shows what matters there; a step function hides from it.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_above_zero, require_filled, require_floating, require_tensor

Field = Float[Tensor, "output_time input_time"]


def receptive_field(function: Callable[[Tensor], Any], x: Float[Tensor, "time channel"]) -> Field:
    """The norms (time, time) for a module or function on (batch, time, channel) that returns y or a tuple (y, ...).

    y has as many steps as x and any number of channels; float64 keeps rounding out of the picture. The function gets
    as many copies of x as there are steps and is asked, in copy t, for output t alone. So it must be deterministic
    (`module.eval()`) and treat the sequences of a batch independently.
    Raises TypeError or ValueError where x or y do not fit, and where y does not depend on x at all.
    """
    require_tensor("x", x, "time channel")
    require_floating("x", x)
    require_filled("x", x)
    time = x.shape[0]
    copies = x.detach().expand(time, -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        result = function(copies)
        y = require_tensor("y", result[0] if isinstance(result, tuple) else result, "batch time channel", time=time)
        require_tensor("y", y, "batch time channel", batch=time)
        if not y.requires_grad:
            raise ValueError("function must return what autograd can follow back to x, got a y that is cut off from x")
        steps = torch.arange(time, device=x.device)
        outputs = y[steps, steps].sum(0)  # one number per channel; copy t gives its step t only
        squares = torch.zeros(time, time, dtype=x.dtype, device=x.device)
        for output in outputs:
            (gradient,) = torch.autograd.grad(output, copies, retain_graph=True)
            squares += gradient.square().sum(-1)
    return squares.sqrt()


def future_influence(field: Field, tolerance: float = 1e-9) -> list[tuple[int, int]]:
    """The places (t, s) with s > t where the field is not zero, earliest first: empty for a causal layer.

    `tolerance` is a share of the field's largest entry. Raises ValueError unless the field is square.
    """
    require_tensor("field", field, "output_time input_time", input_time=field.shape[0])
    require_above_zero("tolerance", tolerance)
    leaks = field.triu(1) > tolerance * field.max()
    return [(t, s) for t, s in leaks.nonzero().tolist()]


def open_paths(
    layer: Callable[..., tuple[Tensor, Any]], paths: Collection[str]
) -> Callable[[Float[Tensor, "batch time channel"]], Float[Tensor, "batch time channel"]]:
    """A streaming layer as a function of x that derivatives pass through on some ways only.

    The layer is fed token by token. All that the past can tell the present is in its state, a NamedTuple; the parts
    that `paths` names hand on their derivative, the others their numbers alone. The outputs stay what they are.
    Raises ValueError for a path that the state does not have.
    """

    def function(x: Tensor) -> Tensor:
        state, outputs = None, []
        for x_t in x.split(1, dim=1):
            y_t, state = layer(x_t, state)
            if unknown := sorted(set(paths) - set(state._fields)):
                raise ValueError(f"paths must name parts of the state, {state._fields}, got {', '.join(unknown)}")
            state = state._replace(
                **{name: _detached(getattr(state, name)) for name in state._fields if name not in paths}
            )
            outputs.append(y_t)
        return torch.cat(outputs, 1)

    return function


def _detached(part: Any) -> Any:
    """A tensor, or a NamedTuple of such parts, without its history."""
    if isinstance(part, Tensor):
        return part.detach()
    return type(part)(*(_detached(item) for item in part))
