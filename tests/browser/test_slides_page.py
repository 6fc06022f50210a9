"""Slides in a browser at 1280 × 720: everything fits, can be read from the back, and answers to the keyboard."""

from pathlib import Path

import pytest

from megalodon_edu.authoring.notebooks import read
from megalodon_edu.authoring.slide_page import page as slide_page
from megalodon_edu.authoring.slides import slides_of

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
SMALLEST_TEXT, SMALLEST_CODE = 20, 17  # pixels of 720
MEASURE = """
() => [...document.querySelectorAll(".slide")].map((slide) => {
  const content = slide.querySelector(".content");
  const size = (node) => parseFloat(getComputedStyle(node).fontSize);
  const sizes = (tags) => [...content.querySelectorAll(tags)].map(size);
  return {
    name: slide.getAttribute("aria-label"),
    over: Math.max(content.scrollHeight - content.clientHeight, content.scrollWidth - content.clientWidth),
    text: Math.min(99, ...sizes("p, li")),
    code: Math.min(99, ...sizes("pre, td")),
    image: Math.min(999, ...[...content.querySelectorAll("img")].map((image) => image.clientHeight)),
  };
})
"""


@pytest.fixture
def opened(page, tmp_path):
    """A function that opens the slides of a chapter from a file; they may ask nobody for anything."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def open_slides(path, brief=False):
        file = tmp_path / "slides.html"
        file.write_text(slide_page(slides_of(read(path), brief=brief)), encoding="utf-8")
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(file.as_uri())
        page.wait_for_selector(":root[data-ready]", state="attached")
        return page

    yield open_slides
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_slide_fits_and_can_be_read_from_the_back(path, opened):
    found = opened(path).evaluate(MEASURE)
    assert [one["name"] for one in found if one["over"] > 1] == []
    assert [one["name"] for one in found if one["text"] < SMALLEST_TEXT or one["code"] < SMALLEST_CODE] == []
    assert [one["name"] for one in found if one["image"] < 300] == []


def now(page):
    assert page.locator(".slide.now").count() == 1
    return int(page.locator(".slide.now .number").inner_text())


def test_keys_move_and_the_address_remembers(opened):
    page = opened(CHAPTERS[0])
    last = page.locator(".slide").count()
    for key, place in [
        ("ArrowRight", 2),
        ("Space", 3),
        ("ArrowLeft", 2),
        ("End", last),
        ("PageDown", last),
        ("Home", 1),
    ]:
        page.keyboard.press(key)
        assert now(page) == place, key
    page.get_by_role("button", name="Next slide").click()
    assert now(page) == 2 and page.url.endswith("#2")
    page.reload()
    assert now(page) == 2
    assert page.locator(".slide:not([inert])").count() == 1, "hidden slides are out of reach"


def test_contents_lead_to_a_section(opened):
    page = opened(CHAPTERS[0])
    page.keyboard.press("c")
    page.locator("#contents a", has_text="Recap").click()
    assert page.locator(".slide.now").get_attribute("data-section") == "Recap"
    page.keyboard.press("ArrowRight")
    assert not page.locator("#contents").is_visible()


def test_theme_notes_blank_and_help(opened):
    page = opened(CHAPTERS[0])
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.keyboard.press("d")
    assert page.evaluate(ground) != light
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    assert "Reading" in page.locator("#notes").inner_text()
    page.keyboard.press("n")
    assert page.locator("#notes").count() == 0
    page.keyboard.press("b")
    assert page.locator("#blank").is_visible()
    page.keyboard.press("b")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_the_speakers_window_keeps_in_step_and_moves_the_slides(opened):
    page = opened(CHAPTERS[0])
    with page.expect_popup() as opening:
        page.keyboard.press("s")
    speaker = opening.value
    assert "1 of" in speaker.locator("h1").inner_text() and "Next: In this chapter" in speaker.content()
    page.keyboard.press("ArrowRight")
    assert "In this chapter" in speaker.locator("h1").inner_text()
    speaker.keyboard.press("ArrowRight")
    assert now(page) == 3


def test_printing_gives_a_page_for_each_slide(opened):
    page = opened(CHAPTERS[0], brief=True)
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == page.locator(".slide").count()
