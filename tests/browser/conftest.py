"""A real browser for the tests of this folder, and a page that holds one explorer without any notebook around it."""

import json
import os
import shutil
from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("anywidget") else ["test_*.py"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# What anywidget hands to an explorer, without a kernel behind it: it remembers what was set and what was saved.
MOUNT = """
async ({ esm, css, state }) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const listeners = {};
  const model = {
    state, saved: {}, pending: {},
    get: (name) => model.state[name],
    set(name, value) {
      model.state[name] = model.pending[name] = value;
      (listeners[`change:${name}`] ?? []).forEach((listener) => listener());
    },
    save_changes() { Object.assign(model.saved, model.pending); model.pending = {}; },
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener); },
  };
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  window.explorer = { model, formulas: module.default.formulas, listeners };
  window.explorer.remove = await module.default.render({ model, el });
}
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, headless, for one module: Playwright's event loop must not outlive it.

    Skipped where there is none, unless MEGALODON_REQUIRE_BROWSER=1 forbids it.
    """
    required = os.environ.get("MEGALODON_REQUIRE_BROWSER") == "1"
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        message = "no chromium here: install one (Debian: apt-get install chromium) to run the browser tests"
        pytest.fail(message) if required else pytest.skip(message)
    if not required:
        pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """An empty page as wide as a laptop's; it fails the test when an explorer's script fails on it.

    Explorers are loaded from blob: addresses; errors of Jupyter's own scripts are Jupyter's.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
    yield page
    own = [error for error in errors if "blob:" in error or not page.url.startswith("http")]
    context.close()
    assert not own, f"errors on the page: {own}"


@pytest.fixture
def mount(page):
    """A function that puts an explorer on the page, without a kernel."""

    def put(explorer, width=None):
        if width is not None:
            page.set_viewport_size({"width": width, "height": 900})
        state = json.loads(json.dumps(explorer.get_state()))
        page.evaluate(MOUNT, {"esm": state["_esm"], "css": state["_css"], "state": state})
        return page

    return put


@pytest.fixture
def saved(page):
    """A function that returns what the explorer has sent to Python so far."""
    return lambda: page.evaluate("explorer.model.saved")
