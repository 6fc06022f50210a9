"""`megalodon-edu grade`: run the checks on a folder of students' notebooks."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from megalodon_edu.arguments import require_above_zero, require_between
from megalodon_edu.cli import CommandError
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_folder

if TYPE_CHECKING:
    from megalodon_edu.classroom.submissions import Submission

HELP = "for teachers: run the checks on a folder of students' notebooks, and write grades and a report"

EPILOG = """\
what happens:
  FOLDER holds one notebook for each student, or one subfolder; its name is the student's. The answers are the cells
  tagged "exercise", with the lines before them that they need. They run in a process of their own for each notebook,
  which sees neither checks nor solutions; the checks run here, with the numbers of the notebook and with fresh ones.
  An endless loop, a crash or too much memory costs that exercise, an unreadable notebook costs itself.

what is written:
  grades.csv     a row for each student: points by chapter, and in all
  exercises.csv  a row for each exercise: the verdict, its points, and the sentence that the student would read
  report.html    both, to be read, and what was guarded on this machine
  A right answer is worth 1 point. --partial 0.5 gives other answers up to half a point, by the share of its check that
  went well. Of several notebooks of one student the best answer counts.

examples:
  megalodon-edu grade handed-in
  megalodon-edu grade handed-in --chapters 01 02 --out grades/week1
  megalodon-edu grade handed-in --timeout 10 --memory 1000 --partial 0.5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `grade`."""
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the students' notebooks")
    parser.add_argument("--chapters", nargs="+", metavar="NN", help="grade these only, such as 01 02 [all handed in]")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for the answer to one exercise [20]")
    parser.add_argument(
        "--memory", type=int, default=2000, help="megabytes for the answers, beside the libraries [2000]"
    )
    parser.add_argument(
        "--partial", type=float, default=0.0, help="points that an answer which is not right may get [0]"
    )
    parser.add_argument("--seed", type=int, help="of the fresh numbers, to grade with the same ones again [random]")
    parser.add_argument("--out", type=Path, default=Path("grades"), help="folder of the results [grades]")


def run(args: argparse.Namespace) -> int:
    """Grade every notebook, and write the results."""
    if os.name != "posix":
        raise CommandError("grading needs Linux or macOS; on Windows call it inside WSL")
    from megalodon_edu.classroom.grading import chapters
    from megalodon_edu.classroom.submissions import submissions

    with explained():
        require_above_zero("--timeout", args.timeout)
        require_above_zero("--memory", args.memory)
        require_between("--partial", args.partial, 0.0, 1.0)
        require_folder("--out", args.out)
        if not args.folder.is_dir():
            raise ValueError(f"FOLDER must be a folder of notebooks, got {str(args.folder)!r}; check the path")
        if unknown := sorted(set(args.chapters or ()) - set(chapters())):
            raise ValueError(f"--chapters must be among {', '.join(chapters())}, got {', '.join(unknown)}")
        handed_in = submissions(args.folder)
        if not handed_in:
            raise ValueError(f"FOLDER must hold notebooks (.ipynb), got {str(args.folder)!r}; look into subfolders too")
        return _grade(args, handed_in)


def _grade(args: argparse.Namespace, handed_in: "list[Submission]") -> int:
    from megalodon_edu.classroom import report
    from megalodon_edu.classroom.grading import Grader, Result, exercises

    results: list[Result] = []
    with Grader(args.timeout, args.memory * 2**20, args.seed) as grader:
        for number, submission in enumerate(handed_in, 1):
            found = grader.grade(submission, args.chapters or ())
            results += found
            solved = sum(result.passed is True for result in found)
            name = report.clean(f"{submission.student}: {submission.path.name}")
            print(f"{number}/{len(handed_in)}  {name}  {solved} of {len(found)} solved", flush=True)
    wanted = args.chapters or sorted({result.chapter for result in results} - {""})
    points = [(chapter, exercise.name) for chapter in wanted for exercise in exercises(chapter)]
    book = report.Gradebook(results, args.partial, points)
    for sentence in report.guarded(grader.guards):
        print(sentence)
    for path in report.write(args.out, book, grader.guards, grader.seed):
        print(path)
    return 0
