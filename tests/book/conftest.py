"""The web book, built once, and a page that records what it asks for."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("jupyter_book") and find_spec("anywidget") else ["test_*.py"]

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "book":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder of the book, built from the notebooks as they are stored."""
    from megalodon_edu.authoring.book import build

    folder = tmp_path_factory.mktemp("web") / "book"
    build(ROOT, folder)
    return folder


class Visit:
    """A page of the book, opened as a file: what it asked for, and what went wrong."""

    def __init__(self, page, book):
        self.page, self.book = page, book
        self.asked, self.wrong = [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("requestfailed", lambda request: self.wrong.append(f"not loaded: {request.url}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)

    def open(self, name, query=""):
        self.asked.clear()
        self.page.goto(f"{(self.book / name).as_uri()}.html{query}")
        self.page.wait_for_function("document.fonts.ready.then(() => true)")
        return self.page

    def outside(self):
        """The addresses that are neither files of the book nor data inside the page."""
        own = (self.book.as_uri() + "/", "data:")
        return [address for address in self.asked if not address.startswith(own)]

    def files(self):
        """The files of the book that the page loaded."""
        paths = (re.sub(r"[?#].*", "", address) for address in self.asked if not address.startswith("data:"))
        return {Path(path.removeprefix("file://")) for path in paths}


@pytest.fixture
def visit(browser, book, request):
    """A visit of the book in a window as wide as a laptop's, or as the test's parameter says: (width, theme)."""
    width, theme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield Visit(page, book)
    context.close()
