"""What every language model of the package shares: embedding, layers, final norm, head, loss and initialisation."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from megalodon_edu.arguments import require_device, require_filled, require_instance, require_integers, require_tensor
from megalodon_edu.models.config import ModelConfig
from megalodon_edu.nn.backend import activation_dtype, choose, uses_triton
from megalodon_edu.ops.cross_entropy import linear_cross_entropy
from megalodon_edu.ops.recurrence import working_dtype

Tokens = Int[Tensor, "batch time"]


class ModelState(NamedTuple):
    """The state of a whole model: one entry per layer, and that of the final norm (None where it has none)."""

    layers: tuple[Any, ...]
    norm: Any


class LanguageModel(nn.Module):
    """Tokens to logits. A subclass fills `layers`, each with `forward(x, state) -> (x, state)`, and `run_norm`, and
    names the types of its configuration, of a layer's state and of the final norm's state.
    """

    config_type: type[ModelConfig]
    layer_state: type
    norm_state: type

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        kind = self.config_type.__name__
        require_instance("config", config, self.config_type, f"make one with {kind}(...)")
        self.config = config
        self.backend = choose(backend)
        self.embed = nn.Embedding(config.vocab_size, config.model_dim)
        self.layers = nn.ModuleList()
        self.output = None if config.share_emb else nn.Linear(config.model_dim, config.vocab_size, bias=False)

    def reset_parameters(self) -> None:
        """He initialisation of the products, truncated normal for embedding and head (the released code's choices)."""
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1 / math.sqrt(3 * module.in_features))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        std = 1 / math.sqrt(self.config.model_dim)
        tables = [self.embed.weight] if self.output is None else [self.embed.weight, self.output.weight]
        for table in tables:
            nn.init.trunc_normal_(table, std=std, a=-3 * std, b=3 * std)

    def run_norm(self, x: Float[Tensor, "batch time channel"], state: Any) -> tuple[Tensor, Any]:
        """The final norm and its state."""
        raise NotImplementedError("a LanguageModel subclass defines its final norm")

    @property
    def head(self) -> Float[Tensor, "vocabulary channel"]:
        """The weight that turns what is known of a token into logits: the embedding's own with `share_emb`."""
        return self.embed.weight if self.output is None else self.output.weight

    def embedded(self, tokens: Int[Tensor, "..."]) -> Float[Tensor, "... channel"]:
        """What the first layer reads of tokens that were checked."""
        x = self.embed(tokens)
        return x * math.sqrt(self.config.model_dim) if self.config.scale_emb else x

    def logits(self, x: Float[Tensor, "... channel"]) -> Float[Tensor, "... vocabulary"]:
        """The head, in at least float32."""
        logits = F.linear(x, self.head)
        return logits.to(working_dtype(logits))

    def hidden(
        self, tokens: Tokens, state: ModelState | None = None
    ) -> tuple[Float[Tensor, "batch time channel"], ModelState]:
        """What the head reads, after the final norm, and the state after the tokens. Errors as `forward`."""
        self.check_state(state)
        x = self.embedded(self._check_tokens("tokens", tokens))
        x = x.to(activation_dtype(x))
        x = F.dropout(x, self.config.dropout, self.training)
        before = state.layers if state is not None else (None,) * len(self.layers)
        after = []
        for layer, layer_state in zip(self.layers, before, strict=True):
            x, layer_state = layer(x, layer_state)
            after.append(layer_state)
        x, norm_state = self.run_norm(x, state.norm if state is not None else None)
        return x, ModelState(tuple(after), norm_state)

    def forward(
        self, tokens: Tokens, state: ModelState | None = None
    ) -> tuple[Float[Tensor, "batch time vocabulary"], ModelState]:
        """Logits in at least float32, and the state after the tokens, from which the next call goes on.

        Raises TypeError or ValueError for tokens that are no integers, out of the vocabulary or empty, and for a state
        of another model or batch size.
        """
        x, state = self.hidden(tokens, state)
        return self.logits(x), state

    def loss(self, tokens: Tokens, targets: Tokens | None = None, state: ModelState | None = None) -> Tensor:
        """Mean cross-entropy in nats per token. Without targets, each token is predicted from those before it.

        Where the model runs Triton kernels, the logits of all tokens never exist together.
        """
        tokens = self._check_tokens("tokens", tokens)
        if targets is None:
            if tokens.shape[1] < 2:
                raise ValueError(f"tokens must hold at least 2 steps, one to predict another, got {tokens.shape[1]}")
            tokens, targets = tokens[:, :-1], tokens[:, 1:]
        require_tensor("targets", targets, "batch time", batch=tokens.shape[0], time=tokens.shape[1])
        targets = self._check_tokens("targets", targets)
        x, _ = self.hidden(tokens, state)
        if uses_triton(self.backend, x):
            from megalodon_edu.kernels.cross_entropy import linear_cross_entropy_triton  # needs Triton

            return linear_cross_entropy_triton(x, self.head, targets)
        return linear_cross_entropy(x, self.head, targets)

    def parameter_count(self) -> int:
        """Number of parameters, a shared one counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _check_tokens(self, name: str, tokens: Tokens) -> Tokens:
        """The tokens as int64: bytes come as uint8, an embedding wants indices."""
        require_tensor(name, tokens, "batch time")
        require_integers(name, tokens)
        require_filled(name, tokens)
        tokens = tokens.long()
        if tokens.device.type != "meta":
            require_device(f"{name}.device", tokens.device)
        if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = tokens.min().item(), tokens.max().item()
            if low < 0 or high >= self.config.vocab_size:
                raise ValueError(f"{name} must lie in 0 .. {self.config.vocab_size - 1}, got {low} to {high}")
        return tokens

    def check_state(self, state: ModelState | None) -> None:
        """Raise TypeError or ValueError unless the state is None or of a model like this one."""
        if state is None:
            return
        remedy = "pass the state that the previous call of this model returned"
        require_instance("state", state, ModelState, remedy)
        if len(state.layers) != len(self.layers):
            raise ValueError(
                f"state must come from this model ({len(self.layers)} layers), got one of {len(state.layers)} layers"
            )
        for index, layer in enumerate(state.layers):
            require_instance(f"state.layers[{index}]", layer, self.layer_state, remedy)
        require_instance("state.norm", state.norm, self.norm_state, remedy)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without dropout, for a while; afterwards the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def state_bytes(state: Any) -> int:
    """Bytes that the tensors of a state occupy, as allocated."""
    tensors = [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def detach(state: Any) -> Any:
    """The same state cut off from autograd, as training on successive pieces of a text wants it."""
    return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, state)
