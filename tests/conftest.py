"""The tests of the core run where only the core is installed: on a GPU machine without Jupyter, for example.

And the browser that the tests of several folders share.
"""

import gc
import os
import shutil
from importlib.util import find_spec

import pytest

JUPYTER = find_spec("nbformat") is not None and find_spec("nbclient") is not None
collect_ignore_glob = [] if JUPYTER else ["authoring/*", "test_notebooks.py"]

ONE_BY_ONE = ("tests/book/", "tests/classroom/")
"""Folders whose files share what is built once, or look at the machine's processes: one process runs all of them."""

EACH_ALONE = ("tests/test_notebooks.py::test_stored_outputs", "tests/kernels/test_interpreter.py::test_kernels_in")
"""Long tests that share nothing: any process may run any of them."""

FIRST = (*ONE_BY_ONE, "tests/kernels/test_gpu_compilation.py", *EACH_ALONE)
"""What takes long begins early, so that no process is left alone with it at the end."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the setting `timeout` also where the plugin that reads it is missing."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds that one test may take; without pytest-timeout there is no limit")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marks of missing plugins too."""
    if not config.pluginmanager.hasplugin("timeout"):
        config.addinivalue_line("markers", "timeout(seconds): a limit for one test; needs pytest-timeout")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Where tests run side by side by `--dist loadscope`, a file's tests stay together, for they share fixtures."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(EACH_ALONE) else together(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def together(nodeid: str) -> str:
    """The file of a test, or the folder whose files one process runs."""
    return next(filter(nodeid.startswith, ONE_BY_ONE), nodeid.split("::")[0])


def rank(item: pytest.Item) -> int:
    """The test's place among those that come `FIRST`; the others stand behind them."""
    return next((place for place, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, what takes long comes first; all processes agree on the order."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Take what was imported and collected out of the garbage collector's sight: it stays to the end anyway."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if not JUPYTER:
        terminalreporter.write_line("left out without the notebook's packages: " + ", ".join(collect_ignore_glob))


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
