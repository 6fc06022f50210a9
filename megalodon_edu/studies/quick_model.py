"""The untrained model of a quick run, which shows that a study works."""

import torch

from megalodon_edu.models import Megalodon, MegalodonConfig


def quick_megalodon(chunk_size: int) -> Megalodon:
    """A Megalodon of a few thousand parameters, the same at every call, in evaluation mode."""
    torch.manual_seed(0)
    config = MegalodonConfig(
        num_layers=2, model_dim=16, num_heads=1, z_dim=8, value_dim=16, ffn_hidden_dim=32, norm_num_groups=4,
        cema_ndim=2, chunk_size=chunk_size,
    )  # fmt: skip
    return Megalodon(config).eval()
