"""The web book as a reader meets it: opened as files, without a network and without a kernel."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest

from megalodon_edu import explorers
from megalodon_edu.exercises import questions
from megalodon_edu.project import launch_links

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
COPIES = sorted(f"on_a_gpu_{path.stem}" for path in NOTEBOOKS.glob("on_a_gpu/*.ipynb"))
ORDER = ["index", *CHAPTERS, "explorers", "quiz", "glossary", "kernels", *COPIES]
PAGES = [*ORDER, "search"]
MOST_BYTES = 1_500_000
TOGGLE = "button.theme-switch-button"
NARROW = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
TOO_WIDE = """
[...document.querySelectorAll("div.tex")].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)
"""
DISTORTED = """
[...document.querySelectorAll(".bd-content img")].filter(
  (image) => Math.abs((image.clientWidth / image.clientHeight) / (image.naturalWidth / image.naturalHeight) - 1) > 0.03
).map((image) => image.alt)
"""


class Page(HTMLParser):
    """What a page links to, and the places in it that others link to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places, self.rel, self.open_details, self.pictures = [], set(), {}, 0, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places.update(filter(None, (found.get("id"), found.get("name"))))
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        if tag == "link" and found.get("rel"):
            self.rel[found["rel"]] = found.get("href")
        if tag == "details" and "open" in found:
            self.open_details += 1
        if tag == "img":
            self.pictures.append(found)


@pytest.fixture(scope="module")
def pages(book):
    return {path.stem: Page(path) for path in book.glob("*.html")}


def test_every_notebook_is_a_page(pages):
    assert set(PAGES) == set(pages)


def test_every_link_inside_the_book_leads_somewhere(pages, book):
    lost = []
    for name, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, place = unquote(link).partition("#")
            path = path.partition("?")[0]
            if not (book / path).exists():
                lost.append(f"{name}: {link}")
            elif place and (path.endswith(".html") or not path):
                target = pages[Path(path).stem if path else name]
                if place not in target.places:
                    lost.append(f"{name}: {link}")
    assert lost == []


def test_no_file_of_the_book_names_a_host_of_scripts(book):
    hosts = re.compile(r"(?:src|href)=\"(?:https?:)?//[^\"]*\.(?:js|css|woff2?)|unpkg\.com|jsdelivr|cdnjs|googleapis")
    texts = [path for path in book.rglob("*") if path.suffix in (".html", ".js", ".css")]
    assert [path.name for path in texts if hosts.search(path.read_text(encoding="utf-8"))] == []


def test_next_leads_through_the_chapters_in_order(pages):
    order = ["index"]
    while (following := pages[order[-1]].rel.get("next")) is not None:
        order.append(Path(following).stem)
    assert order == ORDER
    assert all(Path(pages[later].rel["prev"]).stem == earlier for earlier, later in pairwise(order))


def test_answers_and_solutions_are_folded_and_pictures_described(pages):
    for name, page in pages.items():
        assert page.open_details == 0, name
        assert [picture["src"] for picture in page.pictures if len((picture.get("alt") or "").split()) < 4] == [], name


def seen(explorer):
    """What an explorer shows: its lines and its words, without its controls."""
    return explorer.evaluate(
        "(node) => [...node.querySelectorAll('svg, .mx-sentence, .mx-table')].map((part) => part.outerHTML).join()"
    )


@pytest.mark.parametrize("name", PAGES)
def test_a_page_lives_without_a_network_and_in_little_room(name, visit):
    page = visit.open(name)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert visit.outside() == [] and visit.wrong == []
    own = [path for path in visit.files() if path.suffix == ".html" or path.parent.name == "pictures"]
    assert sum(path.stat().st_size for path in own) < MOST_BYTES
    assert page.locator(".living .mx").count() == page.locator("[data-explorer]").count()
    assert page.locator("[data-explorer]").count() >= (name in CHAPTERS)
    equations = page.locator(".tex").count()
    assert page.locator(".tex .katex").count() == equations and page.locator(".katex-error").count() == 0
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("[...document.images].filter((image) => image.complete && !image.naturalWidth).length") == 0
    if name in CHAPTERS:
        explorer = page.locator(".living .mx").first
        sliders, before = explorer.locator("input[type=range]:enabled"), seen(explorer)
        control = sliders.first if sliders.count() else explorer.locator("select").first
        control.press("ArrowDown")
        control.press("ArrowDown")
        assert seen(explorer) != before
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate(NARROW), "the page is wider than a phone"
    assert page.evaluate(DISTORTED) == []


def test_a_chapter_says_how_to_run_it(visit):
    name = CHAPTERS[3]
    text = visit.open(name).locator("article").inner_text()
    assert f"notebooks/{name}.ipynb" in text and "make lab" in text
    hosts = visit.page.locator("article a[href*='colab'], article a[href*='mybinder']").count()
    assert bool(hosts) is bool(launch_links(f"{name}.ipynb"))


def test_the_start_page_lives_and_shows_its_map_and_no_code(visit):
    page = visit.open("index")
    explorer = page.locator("[data-explorer='PolePlaneExplorer'] .mx")
    before = seen(explorer)
    explorer.locator("input[type=range]:enabled").first.press("ArrowLeft")
    assert seen(explorer) != before
    assert page.locator("article img[alt^='The chapters as boxes']").count() == 1
    assert page.locator("article .cell_input").count() == 0


@pytest.mark.parametrize("visit", [(1280, "dark")], ids=str, indirect=True)
def test_pictures_have_no_frame_in_the_dark(visit):
    pictures = visit.open(CHAPTERS[3]).locator(".cell_output img")
    padding = pictures.evaluate_all("(images) => images.map((image) => getComputedStyle(image).padding)")
    assert padding and set(padding) == {"0px"}


def settings(explorer):
    return explorer.evaluate("(node) => [...node.querySelectorAll('input, select')].map((x) => [x.value, x.checked])")


@pytest.mark.parametrize("name", explorers.__all__)
def test_every_explorer_lives_without_a_kernel(name, visit):
    places = visit.open("explorers").locator(f"[data-explorer='{name}']").all()
    assert places
    for place in places:
        state = json.loads(place.locator("script[type='application/json']").text_content())
        assert set(state) == {"constants", "bounds", *state["bounds"]}
        assert sum(moved(place.locator(".mx")).values()) >= 3
    assert visit.wrong == []


def moved(explorer):
    """Move every control of an explorer; how many of each kind changed what it shows."""
    changed = {"range": 0, "select": 0, "checkbox": 0}
    for control in explorer.locator("input, select").all():
        if not (control.is_visible() and control.is_enabled()):
            continue
        kind = control.get_attribute("type") or "select"
        before, was = seen(explorer), settings(explorer)
        if kind == "range":
            control.press("ArrowLeft")
            if settings(explorer) == was:  # it stood at its lower end
                control.press("ArrowRight")
        elif kind == "select":
            control.select_option(index=(control.evaluate("(select) => select.selectedIndex") + 1) % 2)
        else:
            control.press("Space")
        assert settings(explorer) != was, control.get_attribute("data-control")
        changed[kind] += seen(explorer) != before
    return changed


def test_a_pole_is_dragged_with_the_mouse(visit):
    page = visit.open("explorers")
    explorer = page.locator("[data-explorer='PolePlaneExplorer'] .mx")
    handle = explorer.locator(".mx-handle .mx-handle-dot").first
    handle.scroll_into_view_if_needed()
    before, box = seen(explorer), handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 10, steps=4)
    page.mouse.up()
    moved = handle.bounding_box()
    assert moved["x"] + moved["width"] / 2 == pytest.approx(x - 40, abs=3)
    assert seen(explorer) != before


def test_the_quiz_answers(visit):
    page = visit.open("quiz")
    assert page.locator(".mq").count() == len(questions.chapters())
    question = page.locator(".mq").first.locator("[data-question]").first
    question.get_by_role("radio").first.press("Space")
    page.keyboard.press("Enter")
    assert question.locator(".mq-feedback").inner_text().partition(":")[0] in ("Yes", "Look again")
    assert visit.wrong == []


def test_the_theme_is_switched_and_explorers_follow(visit):
    page = visit.open("explorers")
    themes = set()
    for _ in range(3):
        page.locator(TOGGLE).locator("visible=true").first.click()
        page.wait_for_timeout(100)
        theme = page.evaluate("document.documentElement.dataset.theme")
        dark = page.locator(".mx.mx-dark").count()
        assert dark == (page.locator(".mx").count() if theme == "dark" else 0)
        themes.add(theme)
    assert themes == {"light", "dark"}


def test_the_search_finds_a_chapter(visit):
    page = visit.open("search", "?q=half-life")
    page.locator("#search-results li a").first.wait_for()
    found = page.locator("#search-results li a").evaluate_all("(links) => links.map((link) => link.href)")
    assert any(CHAPTERS[1] in address for address in found)
    assert visit.outside() == [] and visit.wrong == []


def test_without_scripts_the_picture_stands_there(browser, book):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / f"{CHAPTERS[3]}.html").as_uri())
    picture = page.locator(".living img")
    picture.scroll_into_view_if_needed()
    assert picture.bounding_box()["height"] > 50 and "unit disc" in picture.get_attribute("alt")
    context.close()
