import math

import numpy as np
import pytest
import torch

from megalodon_edu.models import Transformer, TransformerConfig
from megalodon_edu.plots import style, training
from megalodon_edu.plots.training import LiveLossCurve, loss_curve, running_mean
from megalodon_edu.training.log import LogRow, LogWriter, read_log
from megalodon_edu.training.loop import train
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows


def rows(count, every=20):
    return [
        LogRow(n, 4096 * n, 0.1 * n, math.log(2) * (2 + 6 / n), 1e-3, 1.0, 3.0 if n % every == 0 else None)
        for n in range(1, count + 1)
    ]


def test_the_curve_shows_bits_per_byte_against_bytes_read(tmp_path):
    log = rows(60)
    with LogWriter(tmp_path / "log.csv") as writer:
        for row in log:
            writer.append(row)
    axes = loss_curve(tmp_path / "log.csv").axes[0]
    every_step, smooth, looks = axes.lines
    np.testing.assert_allclose(every_step.get_xdata(), 4096e-6 * np.arange(1, 61))
    np.testing.assert_allclose(every_step.get_ydata(), 2 + 6 / np.arange(1, 61))
    np.testing.assert_allclose(smooth.get_ydata()[-1], np.mean(2 + 6 / np.arange(11, 61)))
    np.testing.assert_allclose(looks.get_xdata(), 4096e-6 * np.array([20, 40, 60]))
    assert axes.get_ylabel() == "bits per byte" and "million bytes" in axes.get_xlabel()
    assert len(loss_curve(rows(5)).axes[0].lines) == 2


def test_the_mean_runs_over_the_last_steps(monkeypatch):
    monkeypatch.setattr(training, "SMOOTH", 3)
    np.testing.assert_allclose(running_mean(np.array([6.0, 0, 3, 9, 0])), [6, 3, 3, 4, 4])


def test_an_empty_log_is_refused():
    with pytest.raises(ValueError, match="log must hold at least one row, got none"):
        loss_curve([])


class Handle:
    def __init__(self):
        self.updates = []

    def update(self, data, **options):
        self.updates.append((data, options))


def test_a_live_curve_replaces_its_picture(monkeypatch):
    shown, handle = [], Handle()

    def display(data, **options):
        shown.append((data, options))
        return handle

    pytest.importorskip("IPython", reason="the notebook's packages are not installed")
    monkeypatch.setattr("IPython.display.display", display)
    live = LiveLossCurve(every=10)
    for row in rows(35):
        live(row)
    assert len(shown) == 1 and shown[0][1]["display_id"] is True
    assert len(handle.updates) == 3  # after 10, 20 and 30 steps
    data, options = handle.updates[-1]
    assert data["image/png"] == style.png_bytes(loss_curve(rows(30)))
    assert "from 8.00 to" in data["text/plain"] and options["raw"] is True


def test_a_live_curve_follows_a_run(monkeypatch, tmp_path):
    shown = []
    pytest.importorskip("IPython", reason="the notebook's packages are not installed")
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data) or Handle())
    text = torch.arange(1, 200, dtype=torch.uint8)
    model = Transformer(TransformerConfig(num_layers=1, model_dim=4, ffn_hidden_dim=4, num_heads=1, context_size=8))
    live = LiveLossCurve(every=2)
    train(model, RandomWindows(text, 2, 8), TrainingOptions(steps=5), tmp_path, [live], progress_bar=False)
    assert live.rows == read_log(tmp_path / "log.csv") and len(live.rows) == 5
    assert shown[0]["image/png"] == style.png_bytes(loss_curve(live.rows[:1]))


def test_drawing_every_no_step_is_refused():
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        LiveLossCurve(every=0)
