"""The run browser in a browser: several seeds computed as in Python, runs picked, values read by mouse and keyboard."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from megalodon_edu.explorers import RunBrowserExplorer
from megalodon_edu.training.log import LogRow

ASK = """
(state) => Object.fromEntries(
  Object.entries(explorer.formulas.values({ ...explorer.model.state, ...state })).map(([k, v]) => [k, Array.from(v)])
)
"""
SETTINGS = [
    {},
    {"grouped": False, "curve": "training", "half_life": 0},
    {"curve": "validation", "log_x": False, "place": 1.0},
    {"against": "seconds", "log_x": False, "log_y": True, "start": 0.4, "place": 0.3},
    {"against": "seconds", "shown": ["slow", "alone"], "place": 0.0, "start": 0.9},
]


def log(seed, steps, seconds):
    noise = np.random.default_rng(seed)
    return [
        LogRow(n, 64 * n, seconds * n, loss, 1e-3, 1.0, 4.0 if n % 30 == 0 else None)
        for n in range(1, steps + 1)
        for loss in [2 + 5 * math.exp(-n / 9) + noise.normal(0, 0.1)]
    ]


@pytest.fixture(scope="module")
def runs():
    """Two variants with two and three seeds, whose seconds differ, and a run that stands alone."""
    runs = {f"fast {n}": log(n, 500, 0.1 + 0.01 * n) for n in range(2)}
    runs |= {f"slow {n}": log(9 + n, 450, 0.2 + 0.01 * n) for n in range(3)}
    return {**runs, "alone": log(20, 100, 0.3)}


@pytest.fixture(scope="module")
def variants(runs):
    return {label: label.split()[0] for label in runs}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_bands_of_seeds_are_those_of_python(settings, runs, variants, mount):
    case = RunBrowserExplorer(runs, variants, **settings)
    found = mount(case).evaluate(ASK, json.loads(json.dumps(case.settings())))
    for key, values in case.values().items():
        np.testing.assert_allclose(found[key], np.ravel(values), rtol=1e-8, atol=1e-10, err_msg=key)


def rows(page):
    return page.locator(".mx-table tbody th").all_inner_texts()


def test_runs_are_picked_and_the_last_one_stays(runs, variants, mount, saved):
    page = mount(RunBrowserExplorer(runs, variants))
    assert rows(page) == ["fast", "slow", "alone"]
    page.get_by_label("slow (3 runs)").uncheck()
    page.get_by_label("alone").press("Space")
    assert saved()["shown"] == ["fast"] and rows(page) == ["fast"]
    assert page.get_by_label("fast (2 runs)").is_disabled()
    assert page.locator("path[data-series='training-fast']").count() == 1
    assert page.locator("path[data-series='training-slow']").count() == 0
    assert page.locator("[data-label]").all_text_contents() == ["fast"]
    page.get_by_label("seeds of a variant").uncheck()
    assert rows(page) == ["fast 0", "fast 1"]


def test_seeds_have_a_band_only_where_there_are_several(runs, variants, mount):
    page = mount(RunBrowserExplorer(runs, variants, curve="training"))
    bands = page.locator("path.mx-band").evaluate_all("(paths) => paths.map((path) => path.dataset.series)")
    assert bands == ["band-training-fast", "band-training-slow"]
    assert not mount(RunBrowserExplorer()).get_by_label("seeds of a variant").is_visible()


def test_a_collection_brings_its_own_runs_and_its_note(mount, saved):
    page = mount(RunBrowserExplorer(against="seconds"))
    assert rows(page) == ["bookworm", "librarian", "tiny_cpu"]
    collection, axis = page.get_by_label("Recorded runs"), page.locator("[data-control=against]")
    page.get_by_label("bookworm").uncheck()
    collection.select_option("Megalodon against the Transformer")
    assert rows(page) == ["Megalodon", "Transformer"] and axis.is_visible()
    assert page.get_by_label("seeds of a variant").is_visible() and not page.get_by_label("tiny_cpu").is_visible()
    assert page.get_by_text("3.75 million parameters each").is_visible()
    page.get_by_label("Transformer (3 runs)").uncheck()
    assert page.get_by_label("Megalodon (3 runs)").is_disabled()
    collection.select_option("one part changed at a time")
    assert not axis.is_visible() and "bytes read" in page.locator("figure svg").last.get_attribute("aria-label")
    collection.select_option("the course's models")
    assert rows(page) == ["librarian", "tiny_cpu"] and saved()["collection"] == "the course's models"


def test_recorded_collections_are_drawn_as_in_python(mount):
    for collection in RunBrowserExplorer().bounds["collection"]:
        case = RunBrowserExplorer(collection=collection, against="seconds", start=0.1)
        found = mount(case).evaluate(ASK, json.loads(json.dumps(case.settings())))
        for key, values in case.values().items():
            np.testing.assert_allclose(found[key], np.ravel(values), rtol=1e-8, atol=1e-10, err_msg=key)


def test_runs_of_the_readers_are_no_collection_to_choose(runs, mount):
    assert not mount(RunBrowserExplorer(runs)).get_by_label("Recorded runs").is_visible()


def test_the_mouse_and_the_arrow_keys_read_values(mount, saved):
    page = mount(RunBrowserExplorer(log_x=False, place=0.2))
    before = page.locator(".mx-table tbody").inner_text()
    box = page.locator("figure svg").last.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    by_mouse = saved()["place"]
    assert 0.4 < by_mouse < 0.6 and page.locator(".mx-table tbody").inner_text() != before
    rule = page.locator("path[data-series='place']").bounding_box()
    assert rule["x"] == pytest.approx(box["x"] + 0.5 * box["width"], abs=1.5)
    page.get_by_role("slider", name="Read at").press("ArrowRight")
    assert saved()["place"] > by_mouse


def test_names_beside_the_lines_do_not_cover_each_other(mount):
    runs = {
        f"run {n}": [LogRow(1, 1, 1, 3 + n / 1000, 0, 0, None), LogRow(9, 9, 9, 2 + n / 1000, 0, 0, None)]
        for n in range(12)
    }
    page = mount(RunBrowserExplorer(runs, curve="training"))
    boxes = sorted(
        (label.bounding_box() for label in page.locator("[data-label] text").all()), key=lambda box: box["y"]
    )
    assert len(boxes) == 12
    assert all(upper["y"] + 12 <= lower["y"] for upper, lower in pairwise(boxes))
    right = page.locator("figure svg").last.bounding_box()
    assert all(box["x"] + box["width"] <= right["x"] + right["width"] + 1 for box in boxes)
    assert mount(RunBrowserExplorer(runs), width=420).locator("[data-label]").count() == 0
