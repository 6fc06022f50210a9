"""The project as a whole: its dependencies, its layers, its commands, and the files that describe it."""

import ast
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import urllib.parse
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import megalodon_edu
from megalodon_edu import cli
from megalodon_edu.cli import lab
from megalodon_edu.cli import test as test_command
from megalodon_edu.project import PROJECT_URL, first_lines, hub_link, launch_links, with_launch_links

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "megalodon_edu"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
ALL_REQUIREMENTS = [*CORE, *chain.from_iterable(EXTRAS.values())]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)

# From the bottom up: a module imports from its own layer and from those before it.
LAYERS = [
    {"arguments", "project"},
    {"data"},
    {"recordings"},
    {"ops"},
    {"kernels"},
    {"nn"},
    {"models"},
    {"training"},
    {"measure"},
    {"studies"},
    {"plots"},
    {"exercises"},
    {"explorers"},
    {"classroom"},
    {"authoring"},
    {"cli", "__main__"},
]
# The core runs without Jupyter and without Triton.
CORE_LAYERS = {name for layer in LAYERS[: LAYERS.index({"plots"}) + 1] for name in layer} - {"kernels"} | {"cli"}
NOTEBOOK_MODULES = ["IPython", "anywidget", "ipykernel", "ipywidgets", "jupyterlab", "nbclient", "nbformat", "notebook"]


def imports_of(source: str, package: list[str]) -> set[str]:
    """Return the dotted names that a module imports, inside functions too; `package` is where it stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def layer_of(dotted: str) -> int | None:
    """Return the number of the layer that a dotted name belongs to, or None outside the layers."""
    words = dotted.split(".")
    if words[0] != "megalodon_edu" or len(words) < 2:
        return None
    for number, layer in enumerate(LAYERS):
        if words[1] in layer:
            return number
    return None


def upward_imports(source: str, dotted: str, is_package: bool) -> list[str]:
    """Return the imports of a module that point to a higher layer."""
    own = layer_of(dotted)
    package = dotted.split(".") if is_package else dotted.split(".")[:-1]
    found = []
    for name in sorted(imports_of(source, package)):
        other = layer_of(name)
        if own is not None and other is not None and other > own:
            found.append(f"{dotted} imports {name}")
    return found


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        words = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def text_files() -> list[Path]:
    """Return the project's own text files, as git lists them, or as they lie there where git is missing."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = {".venv", ".git", "__pycache__", "build"}
        paths = [path for path in ROOT.rglob("*") if not hidden.intersection(path.relative_to(ROOT).parts)]
    endings = {"", ".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".cff", ".ipynb", ".js", ".css", ".json"}
    return [path for path in paths if path.is_file() and path.suffix in endings]


def test_imports_point_only_downwards():
    found = []
    for dotted, path in modules().items():
        found += upward_imports(path.read_text(encoding="utf-8"), dotted, path.name == "__init__.py")
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import megalodon_edu.nn",
        "from megalodon_edu import nn",
        "from megalodon_edu.nn import ComplexEMA",
        "from ..nn import ComplexEMA",
        "from .. import nn",
        "def f():\n    from megalodon_edu.training import loop",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(line):
    assert upward_imports(line, "megalodon_edu.ops.ema", is_package=False)
    downward = line.replace("nn", "arguments").replace("training", "data")
    assert not upward_imports(downward, "megalodon_edu.ops.ema", is_package=False)


def test_every_module_belongs_to_a_layer():
    names = {dotted.split(".")[1] for dotted in modules() if "." in dotted}
    assert names <= set().union(*LAYERS)


def declared_modules(requirements: list[Requirement]) -> set[str]:
    """Return the names under which these distributions are imported (pyyaml as yaml)."""
    wanted = {canonicalize_name(requirement.name) for requirement in requirements}
    provided = metadata.packages_distributions()
    return {name for name, owners in provided.items() if wanted & {canonicalize_name(owner) for owner in owners}}


@pytest.mark.skipif(importlib.util.find_spec("nbval") is None, reason="looks the packages up where all are installed")
def test_the_package_imports_only_what_it_declares():
    core = declared_modules(CORE)
    everywhere = core | declared_modules(EXTRAS["lab"] + EXTRAS["book"] + EXTRAS["test"])
    # Four that come with a declared package, which is made of them: matplotlib, ipykernel, ipywidgets, sphinx.
    core.add("cycler")
    allowed_above = everywhere | {"cycler", "IPython", "traitlets", "docutils"}
    found = []
    for dotted, path in modules().items():
        layer = dotted.split(".")[1] if "." in dotted else ""
        allowed = allowed_above if layer in ("exercises", "explorers", "classroom", "authoring", "plots") else core
        if layer == "kernels":
            allowed = core | {"triton"}
        if dotted.startswith(("megalodon_edu.exercises.solutions.", "megalodon_edu.exercises.mutants.")):
            allowed = allowed_above | {"triton"}  # kernels are answers too
        for name in imports_of(path.read_text(encoding="utf-8"), dotted.split(".")):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in allowed | {"megalodon_edu", "__future__"}:
                found.append(f"{dotted} imports {name}")
    assert found == []


def test_the_core_imports_without_jupyter_and_without_triton():
    names = {name for name in modules() if "." in name and name.split(".")[1] in CORE_LAYERS}
    names.discard("megalodon_edu.cli.notebooks")  # runs notebooks, and is imported only for that
    assert "megalodon_edu.ops.ema" in names
    program = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {[*NOTEBOOK_MODULES, "triton", "playwright", "pytest", "hypothesis"]!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
for name in {sorted(names)!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_the_tests_are_collected_without_jupyter_and_without_plugins():
    program = f"""
import sys
from importlib.machinery import PathFinder
import pytest

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in {[*NOTEBOOK_MODULES, "playwright", "pytest_timeout", "nbval"]!r}:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out without the notebook's packages: authoring/*, test_notebooks.py" in done.stdout
    assert all(f"tests/{name}/test_" in done.stdout for name in ("ops", "nn", "models", "training", "cli"))


def test_environment_yml_installs_the_package_and_repeats_no_dependency():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    python, pip, section = environment["dependencies"]
    assert pip == "pip"
    name, _, version = python.partition("=")
    assert name == "python"
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    constraints, package = section["pip"]
    assert constraints == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[(.*)\]", package).group(1).split(",")
    assert tuple(extras) == lab.EXTRAS


def test_the_commands_install_extras_that_exist():
    assert set(lab.EXTRAS) <= set(test_command.EXTRAS) <= set(EXTRAS)


def test_constraints_are_exact_versions_and_nothing_else():
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in PINS)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())
    assert list(PINS) == sorted(PINS)


@pytest.mark.parametrize("requirement", ALL_REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_constraint_in_its_range(requirement):
    name = canonicalize_name(requirement.name)
    assert name in PINS
    assert requirement.specifier.contains(PINS[name])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need packages of their own")
def test_what_the_dependencies_need_has_a_constraint_too():
    missing, seen = set(), set()
    waiting = list(ALL_REQUIREMENTS)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        # CUDA's packages, and Triton, are pinned by the build of torch that asks for them.
        if (name, *requirement.extras) in seen or name.startswith(("nvidia-", "cuda-")):
            continue
        seen.add((name, *requirement.extras))
        if name not in PINS:
            missing.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for line in map(Requirement, needed):
            environments = [{"extra": extra} for extra in requirement.extras or [""]]
            if line.marker is None or any(line.marker.evaluate(environment) for environment in environments):
                waiting.append(line)
    assert missing == set()


def test_the_data_of_the_package_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = set()
    for pattern in settings["tool"]["setuptools"]["package-data"]["megalodon_edu"]:
        shipped.update(PACKAGE.glob(pattern))
    lying = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path for path in lying if not path.name.startswith(".")} <= shipped


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == megalodon_edu.__version__
    assert re.search(r"^## \[(.*?)\]", changelog, re.MULTILINE).group(1) == megalodon_edu.__version__


def test_the_commands_in_the_documents_exist():
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split())
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
        made = {match for line in code for match in re.findall(r"^make ([a-z]+)", line)}
        command = re.compile(r"^(?:python3? -m megalodon_edu|megalodon-edu) ([a-z]+)")
        called = {match for line in code for match in command.findall(line)}
        assert made and made <= targets
        assert called <= set(cli.available_commands())


def test_the_links_between_the_documents_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            if "://" not in target:
                assert (ROOT / target.partition("#")[0]).exists(), f"{name} links to {target}"


def test_links_that_need_the_public_address_are_shown_when_there_is_one_and_hidden_while_there_is_none():
    hosts = re.compile(r"https?://(?:colab\.research\.google\.com|mybinder\.org)[^\s)\"]*")
    showing = {path: path.read_text(encoding="utf-8") for path in text_files() if path.suffix in (".md", ".ipynb")}
    chapters = sorted(path for path in showing if path.suffix == ".ipynb")
    assert chapters
    readme = showing[ROOT / "README.md"]
    links = {path.name: launch_links(path.name) for path in chapters}
    assert [name for name, line in links.items() if line not in readme] == []  # call `megalodon-edu notebooks address`
    allowed = set(hosts.findall(" ".join(links.values())))
    assert [link for text in showing.values() for link in hosts.findall(text) if link not in allowed] == []
    assert bool(allowed) is bool(PROJECT_URL)


def test_a_hub_link_names_the_repository_and_the_start_page():
    link = urllib.parse.urlsplit(hub_link("https://hub.example.edu/", "https://github.com/owner/name"))
    assert (link.netloc, link.path) == ("hub.example.edu", "/hub/user-redirect/git-pull")
    assert urllib.parse.parse_qs(link.query) == {
        "repo": ["https://github.com/owner/name"],
        "branch": ["main"],
        "urlpath": ["lab/tree/name/notebooks/index.ipynb"],
    }
    with pytest.raises(ValueError, match="address must be"):
        hub_link("https://hub.example.edu", "")


def test_a_notebook_takes_the_course_from_its_address_or_from_the_wheel_beside_it():
    assert "--no-deps git+https://github.com/owner/name" in first_lines("https://github.com/owner/name/")
    assert "--no-deps megalodon_edu-*.whl" in first_lines("")
    for address in ("", "https://github.com/owner/name"):
        ast.parse(first_lines(address))


def test_launch_links_need_an_address_where_the_services_look():
    assert launch_links("01.ipynb", "") == ""
    shown = launch_links("01.ipynb", "https://github.com/owner/name/")
    assert "/github/owner/name/blob/main/notebooks/01.ipynb" in shown
    assert "/gh/owner/name/main?urlpath=lab/tree/notebooks/01.ipynb" in shown
    for address in ("https://example.org/owner/name", "github.com/owner/name", "https://github.com/owner"):
        with pytest.raises(
            ValueError, match=f"address must be https://github.com/OWNER/NAME or empty, got '{address}'"
        ):
            launch_links("01.ipynb", address)


def test_launch_links_come_into_a_text_change_and_go_with_the_address():
    here = "https://github.com/owner/name"
    text = "| 01 | [EMA](notebooks/01.ipynb) | a (small) model |\nThe [start](notebooks/index.ipynb), [log](a.md)."
    shown = with_launch_links(text, here)
    assert f"[EMA](notebooks/01.ipynb) ({launch_links('01.ipynb', here)}) | a (small)" in shown
    assert shown.count("[Colab]") == shown.count("[Binder]") == 2 and shown.endswith("), [log](a.md).")
    assert with_launch_links(shown, here) == shown
    moved = with_launch_links(shown, "https://github.com/other/place")
    assert moved == shown.replace("owner/name", "other/place")
    assert with_launch_links(moved, "") == text


def test_the_address_of_pytorchs_cpu_index_stands_once():
    address = "download.pytorch" + ".org"
    found = [path.name for path in text_files() for line in path.read_text("utf-8").splitlines() if address in line]
    assert found == ["Makefile"]


def test_the_hosted_workflow_runs_the_test_command_on_every_supported_python():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "make test"
    assert job["env"]["MEGALODON_REQUIRE_BROWSER"] == "1"
    python = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    classified = [match.group(1) for match in map(python.fullmatch, PROJECT["classifiers"]) if match]
    assert job["strategy"]["matrix"]["python"] == classified


@pytest.fixture
def bare_path(tmp_path):
    """Return a folder to be the whole PATH: the few tools that .ci/run uses, and stubs that note their calls."""
    for name in ("bash", "dirname", "env", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


def stub(folder: Path, name: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f'#!{shutil.which("bash")}\necho "{name} $* browser=$MEGALODON_REQUIRE_BROWSER"\nexit {status}\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def run_ci(path: Path) -> subprocess.CompletedProcess:
    environment = {"PATH": str(path)}
    command = [shutil.which("bash"), ROOT / ".ci" / "run"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(os.name != "posix", reason="CI runs on Linux")
def test_ci_installs_the_browser_and_fails_where_it_cannot(bare_path):
    for name in ("make", "python3", "sudo"):
        stub(bare_path, name)
    stub(bare_path, "apt-get", status=100)
    stub(bare_path, "sudo", status=100)
    refused = run_ci(bare_path)
    assert refused.returncode != 0
    assert "make test" not in refused.stdout


@pytest.mark.skipif(os.name != "posix", reason="CI runs on Linux")
def test_ci_runs_the_test_command_with_the_browser_required(bare_path):
    for name in ("make", "python3", "chromium"):
        stub(bare_path, name)
    done = run_ci(bare_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "make test browser=1"


def test_the_package_that_is_tested_is_this_checkout():
    assert Path(importlib.util.find_spec("megalodon_edu").origin).parent == PACKAGE
