"""The moving averages as modules: parameters, initialisation and a streaming state."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from megalodon_edu.arguments import require_bool, require_positive, require_tensor
from megalodon_edu.nn.backend import Float32Parameters, choose, full_precision, uses_triton
from megalodon_edu.ops.complex_ema import complex_ema_chunked, complex_ema_reference, harmonic_angles
from megalodon_edu.ops.damped_ema import damped_ema_chunked, damped_ema_reference

Sequence = Float[Tensor, "batch time channel"]


class DampedEMA(Float32Parameters):
    """MEGA's damped multi-dimensional EMA (arXiv:2209.10655, Eq 4-5) on (batch, time, channel).

    alpha and delta hold logits, beta the input weights, gamma the output weights √modes η; each (channel, modes).
    It has no Triton kernel: every backend but "reference" takes the torch face.
    """

    def __init__(self, model_dim: int, modes: int, backend: str = "auto"):
        super().__init__()
        require_positive("model_dim", model_dim)
        require_positive("modes", modes)
        self.backend = choose(backend)
        self.alpha = nn.Parameter(torch.empty(model_dim, modes))
        self.delta = nn.Parameter(torch.empty(model_dim, modes))
        self.beta = nn.Parameter(torch.empty(model_dim, modes))
        self.gamma = nn.Parameter(torch.empty(model_dim, modes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Logits near 0 (α ≈ δ ≈ ½), input weights ±1 by turns with a little noise, output weights standard normal."""
        nn.init.normal_(self.alpha, std=0.2)
        nn.init.normal_(self.delta, std=0.2)
        nn.init.normal_(self.gamma)
        nn.init.normal_(self.beta, std=0.02)
        with torch.no_grad():
            self.beta.add_((-1.0) ** torch.arange(self.beta.shape[1], device=self.beta.device))

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, delta, beta, eta of `ops.damped_ema`, in float64."""
        eta = self.gamma.double() / math.sqrt(self.gamma.shape[1])
        return self.alpha.double().sigmoid(), self.delta.double().sigmoid(), self.beta.double(), eta

    def forward(
        self, x: Sequence, state: Float[Tensor, "batch channel mode"] | None = None
    ) -> tuple[Sequence, Float[Tensor, "batch channel mode"]]:
        """y and the last state. Errors as `ops.damped_ema.damped_ema_reference`."""
        face = damped_ema_reference if self.backend == "reference" else damped_ema_chunked
        require_tensor("x", x, "batch time channel", channel=self.alpha.shape[0])
        with full_precision(x):
            return face(x, *self.coefficients(), state)


class ComplexEMA(Float32Parameters):
    """CEMA (arXiv:2404.08801, Eq 2-3) on (batch, time, channel), with the released code's parameters.

    alpha, delta (channel, modes, 1): logits.  theta (channel, 1, 1): logit of the base angle.
    gamma (channel, modes, 2): real and imaginary part of η √modes.  omega (channel, 1): weight of the skip.
    `input_phase=True` turns the input as the paper's Eq 2 does; the released code does not.
    `rotates=False` is a real average, for comparison: every angle is 0, there is no theta, and gamma is (channel,
    modes, 1). The operators and the state are the same, with an imaginary part of 0.
    """

    def __init__(
        self, model_dim: int, modes: int, input_phase: bool = False, backend: str = "auto", rotates: bool = True
    ):
        super().__init__()
        require_positive("model_dim", model_dim)
        require_positive("modes", modes)
        require_bool("rotates", rotates)
        self.backend = choose(backend)
        self.input_phase = input_phase
        self.alpha = nn.Parameter(torch.empty(model_dim, modes, 1))
        self.delta = nn.Parameter(torch.empty(model_dim, modes, 1))
        self.theta = nn.Parameter(torch.empty(model_dim, 1, 1)) if rotates else None
        self.gamma = nn.Parameter(torch.empty(model_dim, modes, 2 if rotates else 1))
        self.omega = nn.Parameter(torch.empty(model_dim, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The released code's initialisation: |q| near 0.75 and base angles spread over the channels."""
        nn.init.normal_(self.alpha, std=0.2)
        nn.init.normal_(self.delta, std=0.2)
        nn.init.trunc_normal_(self.omega, std=0.25, a=-1.0, b=1.0)
        with torch.no_grad():
            nn.init.normal_(self.gamma)[..., 1:] = 0.0
            if self.theta is None:
                return
            channels = self.theta.shape[0]
            order = torch.randperm(channels, device=self.theta.device) + 1
            share = torch.exp(-order * (math.log(channels) / channels))
            self.theta.copy_(torch.logit(share.clamp(max=0.999)).view_as(self.theta))  # one channel: share is 1

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """alpha, delta, theta, eta, skip of `ops.complex_ema`: in float64 from the float32 logits."""
        skip = self.omega[:, 0]
        if self.theta is not None and uses_triton(self.backend, self.alpha):
            from megalodon_edu.kernels.complex_ema_coefficients import complex_ema_coefficients_triton

            return *complex_ema_coefficients_triton(self.alpha, self.delta, self.theta, self.gamma), skip
        alpha, delta = self.alpha.double().sigmoid()[..., 0], self.delta.double().sigmoid()[..., 0]
        eta = self.gamma.double() / math.sqrt(alpha.shape[1])
        if self.theta is None:
            theta = torch.zeros_like(alpha)
            eta = torch.complex(eta[..., 0], torch.zeros_like(alpha))
        else:
            theta = harmonic_angles(self.theta.double().sigmoid()[:, 0, 0], alpha.shape[1])
            eta = torch.view_as_complex(eta)
        return alpha, delta, theta, eta, skip.double()

    def forward(
        self, x: Sequence, state: Complex[Tensor, "batch channel mode"] | None = None
    ) -> tuple[Sequence, Complex[Tensor, "batch channel mode"]]:
        """y and the last state. Errors as `ops.complex_ema.complex_ema_reference`."""
        face = complex_ema_reference if self.backend == "reference" else complex_ema_chunked
        require_tensor("x", x, "batch time channel", channel=self.alpha.shape[0])
        if uses_triton(self.backend, x):
            from megalodon_edu.kernels.complex_ema import complex_ema_triton as face
        with full_precision(x):
            return face(x, *self.coefficients(), state, self.input_phase)
