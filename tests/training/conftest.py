import pytest
import torch
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows

TEXT = b"\0The whale, the whale! Up helm, up helm! Oh, all ye sweet powers of air, now hug me close!" * 3


@pytest.fixture
def tokens():
    return torch.frombuffer(bytearray(TEXT), dtype=torch.uint8)


@pytest.fixture
def windows(tokens):
    return RandomWindows(tokens, batch=4, length=10, seed=5)


@pytest.fixture
def options():
    return TrainingOptions(
        steps=6, learning_rate=1e-2, warmup_steps=2, precision="float32", checkpoint_steps=100, evaluate_every=2
    )


@pytest.fixture
def megalodon():
    return build_megalodon()


@pytest.fixture
def transformer():
    return build_transformer()
