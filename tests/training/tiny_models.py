"""The smallest models that still have every part."""

import torch

from megalodon_edu.data import Document
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, TransformerConfig


def build_megalodon(dropout=0.0, **changes):
    torch.manual_seed(0)
    sizes = {
        "num_layers": 2,
        "model_dim": 8,
        "ffn_hidden_dim": 16,
        "num_heads": 1,
        "z_dim": 8,
        "value_dim": 8,
        "cema_ndim": 2,
        "chunk_size": 4,
        "norm_num_groups": 2,
        "dropout": dropout,
    }
    return Megalodon(MegalodonConfig(**{**sizes, **changes}))


def build_transformer(**changes):
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "model_dim": 8, "ffn_hidden_dim": 16, "num_heads": 2, "kv_heads": 1, "context_size": 8}
    return Transformer(TransformerConfig(**{**sizes, **changes}))


def document(text, split="validation", title="A text"):
    return Document(title, "Nobody", None, split, text, "written for a test", "public domain", f"{split}/{title}.txt")
