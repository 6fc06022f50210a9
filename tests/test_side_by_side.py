"""Where tests run side by side, those of a file share a process, and with it what the file builds once."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
FILE = """
import time
import pytest

@pytest.mark.parametrize("n", range({count}))
def {name}(n):
    time.sleep(0.1)
"""
IN_ONE = ("tests/test_a.py", "tests/test_b.py", "tests/book/")
COUNTS = {"test_a.py": 4, "test_b.py": 4, "book/test_c.py": 4, "book/test_d.py": 4, "test_notebooks.py": 24}


def test_a_file_stays_together_a_folder_that_shares_a_build_too_and_long_tests_spread(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed: pip install pytest-xdist")
    for path, count in COUNTS.items():
        name = "test_stored_outputs" if path == "test_notebooks.py" else "test_it"
        (tmp_path / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / path).write_text(FILE.format(name=name, count=count))
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadscope", "-vv", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"^\[(gw\d)\] .*PASSED (\S+)", done.stdout, re.MULTILINE)
    assert len(ran) == sum(COUNTS.values())
    for start in IN_ONE:
        assert len({process for process, test in ran if test.startswith(start)}) == 1
    assert len({process for process, test in ran if "test_stored_outputs" in test}) == 2
    assert "test_a.py" not in " ".join(test for _, test in ran[:4]), "what takes long comes first"
