"""The students' version of the course: a package and notebooks in which no solution and no wrong answer exists.

It runs by itself, and its checks say what they always say. The same notebooks come as an assignment for nbgrader.
"""

import copy
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from megalodon_edu import __version__
from megalodon_edu.classroom.runtime import PACKAGE
from megalodon_edu.project import COPIES

LEFT_OUT = (
    "exercises/solutions", "exercises/mutants", "classroom", "authoring", "course", "cli/grade.py", "cli/release.py",
    "cli/notebooks.py", "cli/slides.py", "cli/book.py", "cli/test.py",
)  # fmt: skip
EXTRAS = ("lab", "kernels")
ALONGSIDE = ("LICENSE", "Makefile", "constraints.txt", "CITATION.cff", "notebooks/LICENSE")

SOLUTION_CALL = re.compile(r",?\s*\bexercises\.\w+\.solution\(\)")
CHECK_CALL = re.compile(r"^exercises\.(\w+)\.check\((\w+)\)\s*$")

README = """# megalodon-edu, students' version

A course in notebooks. You need Python 3.11 or newer.

    {command}     # installs the course into .venv and opens it in JupyterLab

Write your answers into the cells of the exercises and run the cell below each: it says what is wrong, and not only
that it is. The hints are folded away. Keep the first cell of each notebook and the tags of its cells; new cells are
welcome, and helpers may stand anywhere above the answer that needs them. Hand in the notebooks as they are.
"""

NBGRADER_CONFIG = """\
# nbgrader's settings for this folder. The notebooks hold no solutions, so nothing is to be cleared from them: clearing
# would empty the cells in which a bug is to be found.
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions

c = get_config()
c.CourseDirectory.course_id = "megalodon-edu"
c.GenerateAssignment.preprocessors = [
    step for step in GenerateAssignment.class_traits()["preprocessors"].default() if step is not ClearSolutions
]
"""


def release(folder: Path, only: Sequence[str] = ()) -> list[str]:
    """Write the students' version into an empty folder, for these chapters ("01", ...) or for all.

    `student` is what students get, `nbgrader` a course folder for nbgrader. Returns the names of the notebooks. Raises
    ValueError for a folder that holds something already, a chapter that is not there, and a course without notebooks.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"FOLDER must be new or empty, got {str(folder)!r}; choose another name")
    found = notebooks(only)
    student, source = folder / "student", folder / "nbgrader" / "source"
    copy_package(student / "megalodon_edu")
    (student / "notebooks").mkdir()
    for name in ALONGSIDE:
        if (path := home() / name).is_file():
            shutil.copy(path, student / name)
    (student / "pyproject.toml").write_text(pyproject(), encoding="utf-8")
    command = "make lab" if (student / "Makefile").exists() else "python -m megalodon_edu lab"
    (student / "README.md").write_text(README.format(command=command), encoding="utf-8")
    if not (student / "constraints.txt").exists():  # the installation reads one
        (student / "constraints.txt").write_text("# any versions that pyproject.toml allows\n", encoding="utf-8")
    for path in found:
        notebook = for_students(json.loads(path.read_text(encoding="utf-8")))
        _write(student / "notebooks" / path.name, notebook)
        if any("exercise" in _tags(cell) for cell in notebook["cells"]):
            (source / path.stem).mkdir(parents=True)
            _write(source / path.stem / path.name, for_nbgrader(notebook))
        if (copied := path.parent / COPIES / path.name).is_file():
            target = student / "notebooks" / COPIES / path.name
            target.parent.mkdir(exist_ok=True)
            _write(target, for_students(json.loads(copied.read_text(encoding="utf-8"))))
    (folder / "nbgrader" / "nbgrader_config.py").write_text(NBGRADER_CONFIG, encoding="utf-8")
    return [path.name for path in found]


def home() -> Path:
    """Where the notebooks' folder is: beside the package in a checkout, inside it where it was installed."""
    places = (PACKAGE.parent, PACKAGE / "course")
    found = next((place for place in places if any((place / "notebooks").glob("[0-9]*.ipynb"))), None)
    if found is None:
        raise ValueError(f"there are no notebooks beside {PACKAGE}; release from a checkout or a whole installation")
    return found


def notebooks(only: Sequence[str] = ()) -> list[Path]:
    """The chapters' notebooks, in order, and those that belong to no chapter."""
    everything = sorted((home() / "notebooks").glob("*.ipynb"))
    chapters = [path.name[:2] for path in everything if path.name[:2].isdigit()]
    if unknown := sorted(set(only) - set(chapters)):
        raise ValueError(f"--chapters must be among {', '.join(chapters)}, got {', '.join(unknown)}")
    return [path for path in everything if not only or path.name[:2] in only or not path.name[:2].isdigit()]


def copy_package(target: Path) -> None:
    """Copy the package without what only a teacher has."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(PACKAGE)
        return {
            name
            for name in names
            if name == "__pycache__" or name.startswith(".") or (inside / name).as_posix() in LEFT_OUT
        }

    shutil.copytree(PACKAGE, target, ignore=left_out)


def pyproject() -> str:
    """What pip needs to install the students' package: the dependencies of this one."""
    needed = metadata.requires("megalodon-edu") or []
    groups: dict[str, list[str]] = {extra: [] for extra in ("", *EXTRAS)}
    for line in needed:
        requirement, extra = _split(line)
        if extra in groups:
            groups[extra].append(requirement)
    lists = {extra: "".join(f"    {json.dumps(line)},\n" for line in lines) for extra, lines in groups.items()}
    extras = "".join(f"{extra} = [\n{lists[extra]}]\n" for extra in EXTRAS)
    return f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "megalodon-edu"
version = "{__version__}"
requires-python = ">=3.11"
dependencies = [
{lists[""]}]

[project.optional-dependencies]
{extras}
[project.scripts]
megalodon-edu = "megalodon_edu.cli:main"

[tool.setuptools.packages.find]
include = ["megalodon_edu*"]

[tool.setuptools.package-data]
megalodon_edu = ["**/*"]
"""


def _split(line: str) -> tuple[str, str]:
    """A requirement without its condition on an extra, and that extra ("" without one)."""
    requirement, _, marker = line.partition(";")
    extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", marker)
    rest = re.sub(r"""(\s*and\s*)?\(?extra\s*==\s*['"][\w-]+['"]\)?(\s*and\s*)?""", "", marker).strip()
    return f"{requirement.strip()}; {rest}" if rest else requirement.strip(), extra[1] if extra else ""


def for_students(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with hints and without solutions, its exercises not yet run.

    Raises ValueError for a cell that still asks for a solution.
    """
    notebook = copy.deepcopy(notebook)
    for cell in _code_cells(notebook):
        source = _source(cell)
        if _tags(cell) & {"exercise", "check", "solution"}:
            cell["outputs"], cell["execution_count"] = [], None
            cell["source"] = SOLUTION_CALL.sub("", source)
        if ".solution(" in _source(cell):
            raise ValueError(f"cell {cell.get('id')} asks for a solution: tag it solution, or remove the call")
    return notebook


def for_nbgrader(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with nbgrader's metadata (schema 3): answers to be written, checks that give one point each.

    nbgrader counts a check as passed where its cell raises nothing, so there it asserts.
    """
    notebook = copy.deepcopy(notebook)
    answer: dict[str, Any] | None = None
    for cell in _code_cells(notebook):
        check = CHECK_CALL.match(_source(cell))
        if "exercise" in _tags(cell):
            answer = cell
        elif "check" in _tags(cell) and check and answer is not None:
            name, given = check.groups()
            answer["metadata"]["nbgrader"] = _marks(f"{name}-answer", solution=True)
            cell["metadata"]["nbgrader"] = _marks(f"{name}-check", solution=False) | {"points": 1}
            cell["source"] = f"verdict = exercises.{name}.check({given})\nassert verdict.passed, verdict\nverdict"
            answer = None
    return notebook


def _marks(grade_id: str, solution: bool) -> dict[str, Any]:
    return {
        "schema_version": 3, "grade_id": grade_id, "grade": not solution, "solution": solution, "locked": not solution,
        "task": False,
    }  # fmt: skip


def _code_cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _tags(cell: dict[str, Any]) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def _write(path: Path, notebook: dict[str, Any]) -> None:
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
