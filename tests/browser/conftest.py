"""A page that holds one explorer without any notebook around it."""

import json
from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("anywidget") else ["test_*.py"]

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
