"""What an explorer makes of the page around it, and what it says in words."""

import pytest

from megalodon_edu.explorers import (
    DecayMixExplorer,
    EMAExplorer,
    MemoryCalculatorExplorer,
    MemoryWallExplorer,
    RooflineExplorer,
    StreamingStateExplorer,
    TileStepperExplorer,
)

SET = "([where, name, value]) => document[where].setAttribute(name, value)"


@pytest.mark.parametrize(
    ("where", "name", "dark", "light"),
    [
        ("body", "data-jp-theme-light", "false", "true"),
        ("body", "data-vscode-theme-kind", "vscode-dark", "vscode-light"),
        ("body", "data-vscode-theme-kind", "vscode-high-contrast", "vscode-high-contrast-light"),
        ("documentElement", "data-theme", "dark", "light"),
        ("body", "style", "color: white", "color: black"),
    ],
)
def test_an_explorer_follows_the_theme_of_the_page(where, name, dark, light, mount):
    page = mount(EMAExplorer())
    page.evaluate(SET, [where, name, dark])
    page.locator(".mx.mx-dark").wait_for()
    page.evaluate(SET, [where, name, light])
    page.locator(".mx:not(.mx-dark)").wait_for()


def test_the_colour_of_the_text_is_read_again_when_the_explorer_gets_its_place(mount):
    page = mount(EMAExplorer())
    page.evaluate('document.querySelector(".mx").parentElement.style.color = "white"')
    page.set_viewport_size({"width": 700, "height": 900})
    page.locator(".mx.mx-dark").wait_for()


@pytest.mark.parametrize(("context", "words"), [(2000, "the state is 1.14 times"), (32_768, "the cache is 14.0 times")])
def test_the_larger_of_cache_and_state_is_named(context, words, mount):
    assert f"{words} as large" in mount(MemoryWallExplorer(context=context)).locator(".mx-sentence").first.inner_text()


def test_what_logarithmic_axes_cannot_show_is_said(mount):
    page = mount(DecayMixExplorer(target="delay by T steps"))
    assert "no place on logarithmic axes" in page.locator(".mx-sentence").inner_text()
    page.get_by_label("Axes").select_option("linear")
    assert "no place on logarithmic axes" not in page.locator(".mx-sentence").inner_text()


def test_the_slider_of_programs_ends_at_the_last_one(mount, saved):
    page = mount(TileStepperExplorer(rows=2, columns=16, block=8, program=40))
    slider = page.locator("[data-control=program]")
    assert (slider.get_attribute("max"), slider.input_value()) == ("3", "3")
    slider.press("ArrowLeft")
    assert saved()["program"] == 2
    page.locator("[data-control=block]").select_option("4")
    assert slider.get_attribute("max") == "7"
    assert "program 2, of 0 to 7" in page.locator(".mx-stack").first.inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_no_label_of_the_roofline_lies_on_a_dot(width, mount):
    page = mount(RooflineExplorer(), width)
    labels = page.locator(".mx-dot text").all()
    assert [label.text_content() for label in labels[:3]] == ["1 2 3", "4", "5 6"]
    dots = [dot.bounding_box() for dot in page.locator(".mx-dot circle").all()]
    for box in (label.bounding_box() for label in labels):
        assert not [
            dot
            for dot in dots
            if box["x"] < dot["x"] + dot["width"] / 2 < box["x"] + box["width"]
            and box["y"] < dot["y"] + dot["height"] / 2 < box["y"] + box["height"]
        ]


TABLES = [
    RooflineExplorer(),
    TileStepperExplorer(),
    MemoryCalculatorExplorer(context=4_000_000),
    StreamingStateExplorer(),
]


@pytest.mark.parametrize("width", [690, 800, 1280])
@pytest.mark.parametrize("explorer", TABLES, ids=lambda explorer: type(explorer).__name__)
def test_tables_fit_their_columns(explorer, width, mount):
    wide = "(table) => table.scrollWidth - table.parentElement.clientWidth"
    tables = mount(explorer, width).locator(".mx-table").all()
    assert tables and max(table.evaluate(wide) for table in tables) <= 0
