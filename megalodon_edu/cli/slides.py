"""`slides`: make slides from the chapters, one HTML file each that needs nothing else."""

import argparse
from pathlib import Path

from megalodon_edu.cli import CommandError

HELP = "for teachers: slides of a chapter, one HTML file that needs no network"
FOLDER = Path("notebooks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("chapters", nargs="+", metavar="CHAPTER", help='"03", the path of a notebook, or "all"')
    parser.add_argument("--out", type=Path, default=Path("slides"), help="folder for the slides (default: ./slides)")
    parser.add_argument("--brief", action="store_true", help="only what a lecture needs, and no code")
    parser.epilog = """\
One chapter:     megalodon-edu slides 03
For a lecture:   megalodon-edu slides 03 --brief     (question, pictures, by hand, play, experiments, recap, quiz)

Open the file in a browser. Arrow keys move, ? shows all keys, s opens a window with the speaker's notes, and printing
gives a PDF with a page for each slide. Chapters are looked for in ./notebooks.
"""


def run(args: argparse.Namespace) -> int:
    """Write a file for each chapter."""
    from megalodon_edu.authoring.notebooks import read  # here, because they need Jupyter's packages
    from megalodon_edu.authoring.slide_page import page
    from megalodon_edu.authoring.slides import slides_of

    for path in [path for chapter in args.chapters for path in _notebooks(chapter)]:
        slides = slides_of(read(path), brief=args.brief)
        args.out.mkdir(parents=True, exist_ok=True)
        target = args.out / f"{path.stem}.html"
        target.write_text(page(slides), encoding="utf-8")
        print(f"{target}: {len(slides)} slides")
    return 0


def _notebooks(chapter: str) -> list[Path]:
    if Path(chapter).suffix == ".ipynb":
        found = [Path(chapter)] if Path(chapter).is_file() else []
    else:
        found = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb" if chapter == "all" else f"{chapter}_*.ipynb"))
    if not found:
        there = ", ".join(path.stem[:2] for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb")))
        known = (
            f"./{FOLDER} holds {there}" if there else f"there is no notebook in ./{FOLDER}: call this from the project"
        )
        raise CommandError(f"no chapter {chapter!r}; {known}")
    return found
