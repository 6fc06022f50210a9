"""Signals a reader can send through a moving average: simple ones, and bytes of text."""

import numpy as np

from megalodon_edu.data import SIX_TOKENS, SIX_VALUES

LENGTH = 96
SENTENCE = b"Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in m"


def signals() -> dict[str, np.ndarray]:
    """The signals by name, each 96 steps long."""
    step = np.arange(LENGTH)
    return {
        "impulse": np.where(step == 8, 1.0, 0.0),
        "step": np.where(step >= 24, 1.0, 0.0),
        "two spikes": np.where((step == 8) | (step == 40), 1.0, 0.0),
        "noisy sine": np.round(np.sin(2 * np.pi * step / 32) + _noise(), 3),
        f'six tokens: "{SIX_TOKENS.decode()}"': np.pad(SIX_VALUES, (0, LENGTH - len(SIX_VALUES))),
        "a sentence's bytes": np.round(np.frombuffer(SENTENCE, np.uint8) / 127, 3),
    }


def _noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.35, LENGTH)
