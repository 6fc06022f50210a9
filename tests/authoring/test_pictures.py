"""Pictures in fewer colours: smaller, and the same to the eye."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from megalodon_edu.authoring.pictures import COLOURS, reduce_colours


def plotted():
    figure, axes = plt.subplots(figsize=(6, 3), dpi=120)
    for phase in range(6):
        axes.plot(np.sin(np.linspace(phase, 9 + phase, 400)), label=f"phase {phase}")
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return file.getvalue()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)


def encoded(array, mode):
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, "PNG")
    return file.getvalue()


def test_a_plot_becomes_half_as_large_and_looks_the_same():
    before = plotted()
    after = reduce_colours(before)
    assert len(after) < len(before) / 2
    assert pixels(after).shape == pixels(before).shape
    assert len(np.unique(pixels(after).reshape(-1, 3), axis=0)) <= COLOURS
    assert np.sqrt(np.mean((pixels(after) - pixels(before)) ** 2)) < 1


def test_a_reduced_picture_stays_as_it_is():
    once = reduce_colours(plotted())
    assert reduce_colours(once) == once


def test_a_picture_that_needs_its_colours_keeps_them():
    noise = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "RGB")
    assert reduce_colours(noise) == noise


def test_a_picture_that_lets_the_page_shine_through_keeps_doing_so():
    half = encoded(np.full((8, 8, 4), 128, dtype=np.uint8), "RGBA")
    assert reduce_colours(half) == half


def test_what_is_no_picture_is_refused():
    with pytest.raises(UnidentifiedImageError):
        reduce_colours(b"AAAA")
