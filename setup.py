"""The one step of the build that pyproject.toml cannot describe: the wheel carries the notebooks and their pages.

They lie beside the package in the checkout, and as megalodon_edu/course in the wheel, in the same folders, so that the
links between them hold.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
COURSE = ("notebooks/*.ipynb", "notebooks/on_a_gpu/*.ipynb", "notebooks/LICENSE", "docs/**/*.md")


class BuildWithCourse(build_py):
    """Copy the package, then the course into it. An editable installation reads both where they are."""

    def run(self) -> None:
        """Raises SetupError where a part of the course is missing: such a wheel would have no notebooks."""
        super().run()
        if self.editable_mode:
            return
        for pattern in COURSE:
            found = sorted(ROOT.glob(pattern))
            if not found:
                raise SetupError(f"no {pattern} in {ROOT}; build the wheel from a whole checkout")
            for path in found:
                target = Path(self.build_lib, "megalodon_edu", "course", path.relative_to(ROOT))
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithCourse})
