"""What a student's process gets to see: a copy of the package without checks, solutions and mutants, and the libraries.

The copy lies in a folder of its own. The libraries are links to where they are installed, all but any copy of this
package; the process starts without site-packages, so nothing else can be imported.
"""

import glob
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import megalodon_edu

PACKAGE = Path(megalodon_edu.__file__).parent
SECRET = ("exercises", "authoring", "cli", "course")
"""Folders of the package that no answer needs: first of all what knows the answers."""

CLASSROOM = ("__init__", "answers", "confinement", "student", "student_calls", "wire")
OURS = ("megalodon_edu", "megalodon-edu", "__editable__")

SYSTEM = (
    "/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/null", "/dev/zero",
    "/dev/urandom", "/etc/localtime", "/usr/share/zoneinfo",
)  # fmt: skip


def build(folder: Path) -> list[str]:
    """Make the copy and the links in this folder; returns the paths that a student's process may read."""
    target = folder / "megalodon_edu"
    shutil.copytree(PACKAGE, target, ignore=_left_out)
    (target / "classroom").mkdir()
    for name in CLASSROOM:
        shutil.copy(PACKAGE / "classroom" / f"{name}.py", target / "classroom")
    libraries = folder / "libraries"
    libraries.mkdir()
    readable = [str(folder), *SYSTEM]
    for place in _site_packages():
        for entry in sorted(place.iterdir()):
            link = libraries / entry.name
            if not (entry.name.startswith(OURS) or entry.suffix in (".pth", ".egg-link") or link.exists()):
                link.symlink_to(entry)
                readable.append(os.path.realpath(entry))
    return readable + _standard_library() + _shared_objects()


def _left_out(folder: str, names: list[str]) -> set[str]:
    top = Path(folder) == PACKAGE
    hidden = {name for name in names if name == "__pycache__" or name.startswith(".")}
    return hidden | ({*SECRET, "classroom"} & set(names) if top else set())


def _site_packages() -> list[Path]:
    """The folders where libraries are installed, in the order in which Python searches them."""
    names = ("site-packages", "dist-packages")
    return [path for path in map(Path, sys.path) if path.name in names and path.is_dir()]


def _standard_library() -> list[str]:
    """Every entry but the folders of installed packages, which may hold this package too."""
    found = []
    for name in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *_zipped()}:
        path = Path(name)
        if path.is_dir():
            entries = (entry for entry in path.iterdir() if not entry.name.endswith("-packages"))
            found += [os.path.realpath(entry) for entry in entries]
            found.append(str(path / "lib-dynload"))
        else:
            found.append(name)
    return found


def _zipped() -> list[str]:
    return [path for path in sys.path if path.endswith(".zip")]


def _shared_objects() -> list[str]:
    """The system's libraries: whole folders where only they lie, else file by file."""
    whole = [path for pattern in ("/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*") for path in glob.glob(pattern)]
    places = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", sysconfig.get_config_var("LIBDIR") or "")
    single = [path for place in places if place for path in glob.glob(f"{place}/*.so*")]
    return [os.path.realpath(path) for path in (*whole, *single)]
