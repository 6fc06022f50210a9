"""The tests of the core run where only the core is installed: on a GPU machine without Jupyter, for example."""

from importlib.util import find_spec

import pytest

JUPYTER = find_spec("nbformat") is not None and find_spec("nbclient") is not None
collect_ignore_glob = [] if JUPYTER else ["authoring/*", "test_notebooks.py"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the setting `timeout` also where the plugin that reads it is missing."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds that one test may take; without pytest-timeout there is no limit")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark `timeout` there too."""
    if not config.pluginmanager.hasplugin("timeout"):
        config.addinivalue_line("markers", "timeout(seconds): a limit for one test; needs pytest-timeout")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if not JUPYTER:
        terminalreporter.write_line("left out without the notebook's packages: " + ", ".join(collect_ignore_glob))
