"""The package as others get it: the wheel is built, installed where there is no checkout, and used from there.

The environment sees the packages of the one that runs the tests, but not the course in it. No network is needed.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("megalodon_edu", "notebooks", "docs")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.egg-info", "build", ".*")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the environment is made of symbolic links")


def run(command, folder, **more):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONSAFEPATH": "1"} | more
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the wheel is built from, because a build leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=LEFT_OUT)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def sizes(source):
    """The size of every file that the wheel must hold, before a build adds its own."""
    sizes = {path.relative_to(source).as_posix(): path.stat().st_size for path in files(source / "megalodon_edu")}
    for pattern in ("notebooks/**/*.ipynb", "notebooks/LICENSE", "docs/**/*.md"):
        for path in source.glob(pattern):
            sizes[f"megalodon_edu/course/{path.relative_to(source).as_posix()}"] = path.stat().st_size
    return sizes


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def wheel(source, sizes, tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77", reason="builds with the setuptools that is installed")
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", out, source], source)
    [built] = out.glob("*.whl")
    return built


def bare_environment(folder):
    """Make an environment that has every package but the course; returns its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    packages = folder / "packages"
    packages.mkdir()
    for path in sys.path:
        if Path(path).name in ("site-packages", "dist-packages"):
            for entry in Path(path).iterdir():
                ours = "megalodon" in entry.name.lower()
                if not ours and entry.suffix != ".pth" and not (packages / entry.name).exists():
                    (packages / entry.name).symlink_to(entry)
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    Path(site, "packages.pth").write_text(f"{packages}\n")
    return python


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The Python of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("environment")
    python = bare_environment(folder)
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], folder)
    return python


def test_the_wheel_holds_the_package_its_data_and_the_course(wheel, sizes):
    with zipfile.ZipFile(wheel) as archive:
        held = {info.filename: info.file_size for info in archive.infolist() if ".dist-info/" not in info.filename}
    assert held == sizes


def test_the_documents_state_its_name_and_size(wheel):
    text = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    stated = re.search(r"wheel of (\d+) MB", text)
    assert f'pip install "{wheel.name}[lab,kernels]"' in text
    assert float(stated[1]) == pytest.approx(wheel.stat().st_size / 1e6, abs=1.5)


def test_every_module_is_imported_from_the_wheel(environment, tmp_path):
    program = f"""
import importlib, pathlib, pkgutil, sys
import megalodon_edu
names = [found.name for found in pkgutil.walk_packages(megalodon_edu.__path__, "megalodon_edu.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
files = {{module.__file__ for name, module in sys.modules.items() if name.startswith("megalodon_edu")}}
assert not any(pathlib.Path(file).is_relative_to({str(ROOT)!r}) and ".venv" not in file for file in files), files
print(len(names))
"""
    assert int(run([environment, "-c", program], tmp_path)) > 150


def test_lab_copies_the_notebooks_with_links_that_hold(environment, tmp_path):
    command = environment.with_name("megalodon-edu")
    said = run([command, "lab", "--no-open"], tmp_path)
    folder = tmp_path / "megalodon-edu"
    assert str(folder) in said
    chapters = sorted((ROOT / "notebooks").glob("*.ipynb"))
    copies = (ROOT / "notebooks").glob("[!.]*/*.ipynb")  # no checkpoints
    everything = {path.relative_to(ROOT).as_posix() for path in [*chapters, *copies]}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.ipynb")} == everything
    for path in [*folder.rglob("*.ipynb"), *folder.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s\"\\]+)", path.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("data:") and "." in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
    mine = folder / "notebooks" / chapters[0].name
    mine.write_text("my work")
    assert f"notebooks/{mine.name}" in run([command, "lab", "--no-open"], tmp_path)
    assert mine.read_text() == "my work"


@pytest.mark.parametrize("name", ["bookworm", "librarian"])
def test_a_shipped_model_writes(name, environment, tmp_path):
    command = [environment.with_name("megalodon-edu"), "generate", "--checkpoint", name]
    assert run([*command, "--prompt", "It was", "--max-tokens", "4"], tmp_path).startswith("It was")


def test_the_bundled_texts_and_the_explorers_are_there(environment, tmp_path):
    pytest.importorskip("anywidget")
    program = """
from megalodon_edu.data import library
from megalodon_edu.explorers import PolePlaneExplorer
explorer = PolePlaneExplorer()
print(len(library()), "render" in explorer._esm, ".mx" in explorer._css)
"""
    assert run([environment, "-c", program], tmp_path).split() == ["351", "True", "True"]


@pytest.mark.skipif(shutil.which("sh") is None, reason="the notebook's pip goes through a shell")
def test_the_first_cell_of_a_notebook_installs_the_course_where_it_is_missing(wheel, tmp_path):
    """As on a hosted notebook: nothing is there but the notebook, Jupyter's packages and the wheel beside it."""
    pytest.importorskip("IPython")
    from megalodon_edu.authoring.canonical import code_cells
    from megalodon_edu.authoring.notebooks import read

    chapter = next((ROOT / "notebooks").glob("03_*.ipynb"))
    python = bare_environment(tmp_path)
    run([python, "-c", "from importlib.util import find_spec; assert find_spec('megalodon_edu') is None"], tmp_path)
    (tmp_path / wheel.name).symlink_to(wheel)
    (tmp_path / "cell.py").write_text(code_cells(read(chapter))[0].source)
    program = """
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for _ in range(2):  # the second time, nothing is left to do
    print("RUN", flush=True)
    shell.run_cell(Path("cell.py").read_text()).raise_error()
"""
    _, first, second = run([python, "-c", program], tmp_path, IPYTHONDIR=str(tmp_path)).split("RUN\n")
    assert "PyTorch" in first and "GPU" in first
    assert second == ""
