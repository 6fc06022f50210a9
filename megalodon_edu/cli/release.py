"""`megalodon-edu release`: make the version of the course that students get."""

import argparse
from pathlib import Path

from megalodon_edu.classroom.release import release
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_folder

HELP = "for teachers: make the students' version, without solutions, and the same assignment for nbgrader"

EPILOG = """\
what is written:
  FOLDER/student   what students get: the notebooks, with hints and without solutions, and a package in which neither
                   solutions nor the wrong answers that test the checks exist; its README says how to begin.
  FOLDER/nbgrader  a course folder for nbgrader: each chapter is an assignment under source/, with a point for each
                   exercise. Call `nbgrader generate_assignment` there.
  FOLDER must be new or empty.

examples:
  megalodon-edu release autumn
  megalodon-edu release week1 --chapters 01
  megalodon-edu release week2 --chapters 02 03
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `release`."""
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to write it; new or empty")
    parser.add_argument("--chapters", nargs="+", default=(), metavar="NN", help="these chapters only [all]")


def run(args: argparse.Namespace) -> int:
    """Write both versions, and say where they are."""
    with explained():
        require_folder("FOLDER", args.folder)
        names = release(args.folder, args.chapters)
    print(f"{len(names)} notebooks: {', '.join(names)}")
    print(f"for students: {args.folder / 'student'}\nfor nbgrader: {args.folder / 'nbgrader'}")
    return 0
