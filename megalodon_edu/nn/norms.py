"""Normalisations as modules. Gains are stored as weight, applied as weight + 1, so that zero means "unchanged"."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from megalodon_edu.arguments import (
    require_above_zero,
    require_choice,
    require_divisor,
    require_floating,
    require_instance,
    require_positive,
    require_tensor,
)
from megalodon_edu.nn.backend import choose, full_precision, uses_triton
from megalodon_edu.ops.layer_norm import layer_norm, rms_norm
from megalodon_edu.ops.recurrence import working_dtype
from megalodon_edu.ops.timestep_decay_norm import (
    MEAN_DECAY,
    VAR_DECAY,
    require_decays,
    timestep_decay_norm_parallel,
    timestep_decay_norm_reference,
)
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_parallel, timestep_norm_reference

NORMS = ("timestep", "layer", "decay")
"""What may stand where Megalodon has its Timestep Norm, see `make_norm`."""

MOST_FEATURES = 16_384
"""Of a row that the kernels of RMSNorm and LayerNorm take."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · (weight + 1) over the last dimension, in at least float32; gain=False: no weight.

    torch.compile gets the torch face, which it merges with its neighbours; the Triton kernel is for everything else.
    """

    def __init__(self, width: int, eps: float = 1e-5, gain: bool = True, backend: str = "auto"):
        super().__init__()
        self.backend = choose(backend)
        require_positive("width", width)
        require_above_zero("eps", eps)
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.zeros(width)) if gain else None

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Raises TypeError if x holds no floating-point numbers, ValueError if its last dimension is not `width`."""
        _check_width(x, self.width)
        face = rms_norm
        if _runs_alone(self.backend, x):
            from megalodon_edu.kernels.layer_norm import rms_norm_triton as face
        with full_precision(x):
            return face(x, self.weight, self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) · (weight + 1) + bias over the last dimension, in at least float32.

    torch.compile gets the torch face, as in RMSNorm.
    """

    def __init__(self, width: int, eps: float = 1e-5, backend: str = "auto"):
        super().__init__()
        self.backend = choose(backend)
        require_positive("width", width)
        require_above_zero("eps", eps)
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Raises TypeError if x holds no floating-point numbers, ValueError if its last dimension is not `width`."""
        _check_width(x, self.width)
        face = layer_norm
        if _runs_alone(self.backend, x):
            from megalodon_edu.kernels.layer_norm import layer_norm_triton as face
        with full_precision(x):
            return face(x, self.weight, self.bias, self.eps)


class TimestepNorm(nn.Module):
    """Timestep Norm (arXiv:2404.08801, Eq 4): statistics of feature groups, cumulative in time.

    prior_count > 0 starts the statistics from that many imagined tokens with a learnable mean and log-variance per
    group; with as many groups as features it must be at least 2, since one feature of one token has no variance.
    """

    def __init__(self, model_dim: int, groups: int, prior_count: int = 0, eps: float = 1e-5, backend: str = "auto"):
        super().__init__()
        require_divisor("groups", groups, "model_dim", model_dim)
        require_positive("prior_count", prior_count, least=0)
        if groups == model_dim and prior_count < 2:
            raise ValueError(
                f"prior_count must be at least 2 when groups equals model_dim ({model_dim}), got {prior_count}: "
                "a group of one feature has no variance at the first token"
            )
        require_above_zero("eps", eps)
        self.backend = choose(backend)
        self.model_dim, self.groups, self.prior_count, self.eps = model_dim, groups, prior_count, eps
        self.weight = nn.Parameter(torch.zeros(model_dim))
        self.bias = nn.Parameter(torch.zeros(model_dim))
        if prior_count:
            self.prior_mean = nn.Parameter(torch.zeros(groups))
            self.prior_logv = nn.Parameter(torch.zeros(groups))

    def initial_state(self, x: Float[Tensor, "batch time channel"]) -> TimestepNormState | None:
        """The state before the first token: the prior, or None without one."""
        if not self.prior_count:
            return None
        batch, work = x.shape[0], working_dtype(x)
        count = torch.full((batch,), self.prior_count, dtype=torch.int64, device=x.device)
        mean, var = self.prior_mean.to(work), self.prior_logv.to(work).exp()
        return TimestepNormState(count, mean.expand(batch, -1), var.expand(batch, -1))

    def forward(
        self,
        x: Float[Tensor, "batch time channel"],
        state: TimestepNormState | None = None,
        padding_mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time channel"], TimestepNormState]:
        """y and the last state. Errors as `ops.timestep_norm.timestep_norm_reference`."""
        face = timestep_norm_reference if self.backend == "reference" else timestep_norm_parallel
        require_tensor("x", x, "batch time channel", channel=self.model_dim)
        if uses_triton(self.backend, x):
            from megalodon_edu.kernels.timestep_norm import timestep_norm_triton as face
        if state is None:
            state = self.initial_state(x)
        with full_precision(x):
            return face(x, self.weight, self.bias, self.groups, state, padding_mask, self.eps)


class TimestepDecayNorm(nn.Module):
    """Gecko's timestep decay norm (arXiv:2601.06463): Timestep Norm with statistics that fade in time.

    It has Timestep Norm's parameters, names and state, so weights trained with one load into the other. There is no
    Triton kernel: every backend but "reference" takes the torch face.
    """

    def __init__(
        self,
        model_dim: int,
        groups: int,
        mean_decay: float = MEAN_DECAY,
        var_decay: float = VAR_DECAY,
        eps: float = 1e-5,
        backend: str = "auto",
    ):
        super().__init__()
        require_divisor("groups", groups, "model_dim", model_dim)
        if groups == model_dim:
            raise ValueError(
                f"groups must be smaller than model_dim, got {groups} for both: a group of one feature has no variance"
            )
        require_decays(mean_decay, var_decay)
        require_above_zero("eps", eps)
        self.backend = choose(backend)
        self.model_dim, self.groups, self.eps = model_dim, groups, eps
        self.mean_decay, self.var_decay = mean_decay, var_decay
        self.weight = nn.Parameter(torch.zeros(model_dim))
        self.bias = nn.Parameter(torch.zeros(model_dim))

    def forward(
        self,
        x: Float[Tensor, "batch time channel"],
        state: TimestepNormState | None = None,
        padding_mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time channel"], TimestepNormState]:
        """y and the last state. Errors as `ops.timestep_decay_norm.timestep_decay_norm_reference`."""
        face = timestep_decay_norm_reference if self.backend == "reference" else timestep_decay_norm_parallel
        require_tensor("x", x, "batch time channel", channel=self.model_dim)
        decays = self.mean_decay, self.var_decay
        with full_precision(x):
            return face(x, self.weight, self.bias, self.groups, *decays, state, padding_mask, self.eps)


def make_norm(
    kind: str,
    model_dim: int,
    groups: int,
    mean_decay: float = MEAN_DECAY,
    var_decay: float = VAR_DECAY,
    backend: str = "auto",
) -> TimestepNorm | TimestepDecayNorm | LayerNorm:
    """The norm of that kind: "timestep" Megalodon's, "decay" Gecko's with these decays, "layer" a LayerNorm.

    All have the same two parameters. LayerNorm has no groups and no memory. Raises ValueError for another kind.
    """
    require_choice("norm", kind, NORMS)
    if kind == "layer":
        return LayerNorm(model_dim, backend=backend)
    if kind == "decay":
        return TimestepDecayNorm(model_dim, groups, mean_decay, var_decay, backend=backend)
    return TimestepNorm(model_dim, groups, backend=backend)


def run_norm(
    norm: TimestepNorm | TimestepDecayNorm | LayerNorm,
    x: Float[Tensor, "batch time channel"],
    state: TimestepNormState | None,
) -> tuple[Float[Tensor, "batch time channel"], TimestepNormState | None]:
    """y and the last state, None for LayerNorm."""
    return (norm(x), None) if isinstance(norm, LayerNorm) else norm(x, state)


def _runs_alone(backend: str, x: Tensor) -> bool:
    """Whether a norm over one row runs its own kernel: outside a compiled graph, where kernels run and x is not wider
    than they take."""
    return not torch.compiler.is_compiling() and x.shape[-1] <= MOST_FEATURES and uses_triton(backend, x)


def _check_width(x: Tensor, width: int) -> None:
    require_instance("x", x, Tensor, "pass a torch tensor")
    require_floating("x", x)
    if x.ndim == 0 or x.shape[-1] != width:
        raise ValueError(f"x must have {width} features in its last dimension, got the shape {tuple(x.shape)}")
