"""Explorers need the notebook's packages; where a machine trains only, their tests are not collected."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("anywidget") else ["test_*.py"]
