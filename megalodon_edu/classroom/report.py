"""What a teacher gets: two tables as CSV, and a page to read."""

import csv
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megalodon_edu.classroom.confinement import Guards
from megalodon_edu.classroom.grading import Result
from megalodon_edu.exercises.display import COLOURS, inline_html

LONGEST = 1000
"""Characters of a message; a student's own words may be in it."""

WORDS = {"yes": "Yes", "look again": "Look again", "not yet": "Not yet"}

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
caption { text-align: left; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8886; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
dt { margin-top: .8rem; font-weight: 600; }
dd { margin: .1rem 0 0; padding-left: .7rem; overflow-wrap: anywhere; }
code { font-size: .95em; }
"""


@dataclass(frozen=True)
class Gradebook:
    """All results, with the points: the best of several notebooks counts for each exercise."""

    results: Sequence[Result]
    partial: float
    wanted: Sequence[tuple[str, str]]
    """Every exercise that gives points, as (chapter, exercise)."""

    def students(self) -> list[str]:
        """All students, in order."""
        return sorted({result.student for result in self.results})

    def points(self, student: str, chapter: str | None = None) -> float:
        """The points of a student, in one chapter or in all."""
        best: dict[tuple[str, str], float] = {}
        for result in self.results:
            key = (result.chapter, result.exercise)
            if result.student == student and key in self.wanted and chapter in (None, result.chapter):
                best[key] = max(best.get(key, 0.0), result.points(self.partial))
        return round(sum(best.values(), 0.0), 3)

    def possible(self, chapter: str | None = None) -> int:
        """The points that can be reached."""
        return sum(chapter in (None, other) for other, _ in self.wanted)

    def chapters(self) -> list[str]:
        """The chapters that give points."""
        return list(dict.fromkeys(chapter for chapter, _ in self.wanted))


def write(folder: Path, book: Gradebook, guards: Guards | None, seed: int) -> list[Path]:
    """Write grades.csv, exercises.csv and report.html; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("grades.csv", "exercises.csv", "report.html")]
    chapters = book.chapters()
    heads = ["student", *(f"chapter {chapter} (of {book.possible(chapter)})" for chapter in chapters)]
    rows = [
        [student, *(book.points(student, chapter) for chapter in chapters), book.points(student), book.possible()]
        for student in book.students()
    ]
    _write_csv(paths[0], [*heads, "points", "possible"], rows)
    columns = ["student", "notebook", "chapter", "exercise", "verdict", "points", "message"]
    _write_csv(
        paths[1],
        columns,
        (
            [r.student, r.notebook, r.chapter, r.exercise, r.verdict, r.points(book.partial), r.message]
            for r in book.results
        ),
    )
    paths[2].write_text(page(book, guards, seed), encoding="utf-8")
    return paths


def _write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(heads)
        table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    """A value for a spreadsheet: what a student wrote must not become a formula there."""
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def clean(text: str) -> str:
    """One line of printable characters, not too long."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def guarded(guards: Guards | None) -> list[str]:
    """What the answers could not do on this machine, and what they could have done, in sentences."""
    if guards is None:
        return ["No answer was run."]
    sentences = [
        "Each notebook's answers ran in a process of its own, with a copy of the package that holds no checks and no "
        "solutions; points are given by the grader's own process, which took over numbers and no code.",
    ]
    if guards.files:
        sentences.append("The answers could read no files but those of Python and its libraries, and write none.")
    else:
        sentences.append(
            "Not guarded here: files. This system does not let a process lock itself in (Linux with Landlock does). An "
            "answer could read what you can read, the solutions in your copy of the package too if it knows the path, "
            "and could delete files; it could not write any. Grade work that you do not trust on Linux, or with a "
            "copy without solutions under another user."
        )
    if guards.processes:
        sentences.append("They could start no processes, reach no network, and signal no other process.")
    else:
        sentences.append(
            "Not guarded here: other processes and the network. Answers could send signals to your processes and open "
            "connections; starting processes was refused where the system counts them."
        )
    if not guards.memory:
        sentences.append("Memory was watched, and the process ended; for a moment it could take more than allowed.")
    return sentences


def page(book: Gradebook, guards: Guards | None, seed: int) -> str:
    """The report as a page of HTML that needs nothing else."""
    chapters = book.chapters()
    heads = "".join(f'<th scope="col" class="number">{chapter}</th>' for chapter in chapters)
    rows = "".join(_row(book, student) for student in book.students())
    solved = "".join(_solved(book, chapter, exercise) for chapter, exercise in book.wanted)
    notes = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in guarded(guards))
    details = "".join(_student(book, student) for student in book.students())
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Grades</title>
<style>{STYLE}</style></head>
<body>
<h1>Grades</h1>
<table><caption>Points by chapter</caption>
<thead><tr><th scope="col">student</th>{heads}<th scope="col" class="number">points</th>
<th scope="col" class="number">of {book.possible()}</th></tr></thead>
<tbody>{rows}</tbody></table>
<h2>By exercise</h2>
<table><thead><tr><th scope="col">chapter</th><th scope="col">exercise</th><th scope="col" class="number">solved</th>
<th scope="col" class="number">tried</th></tr></thead><tbody>{solved}</tbody></table>
<h2>By student</h2>
{details}
<h2>How this was graded</h2>
<ul>{notes}<li>The seed of the fresh numbers was {seed}; with it the same numbers come again.</li></ul>
</body>
</html>
"""


def _row(book: Gradebook, student: str) -> str:
    cells = "".join(f'<td class="number">{book.points(student, chapter):g}</td>' for chapter in book.chapters())
    total, possible = book.points(student), book.possible()
    share = f"{total / possible:.0%}" if possible else ""
    return (
        f'<tr><th scope="row">{html.escape(clean(student))}</th>{cells}<td class="number">{total:g}</td>'
        f'<td class="number">{share}</td></tr>'
    )


def _solved(book: Gradebook, chapter: str, exercise: str) -> str:
    found = [r for r in book.results if (r.chapter, r.exercise) == (chapter, exercise)]
    solved = {r.student for r in found if r.passed}
    tried = {r.student for r in found if r.passed is not None}
    return (
        f'<tr><td>{chapter}</td><td>{exercise}</td><td class="number">{len(solved)}</td>'
        f'<td class="number">{len(tried)}</td></tr>'
    )


def _student(book: Gradebook, student: str) -> str:
    parts = [f"<section><h3>{html.escape(clean(student))}: {book.points(student):g} of {book.possible()}</h3>"]
    notebook = None
    for result in (result for result in book.results if result.student == student):
        if result.notebook != notebook:
            parts += ["</dl>"] if notebook is not None else []
            notebook = result.notebook
            parts.append(f"<h4>{html.escape(clean(notebook))}</h4><dl>")
        word = WORDS.get(result.verdict, "Not graded")
        colour = COLOURS.get(word, "#888")
        name = f"{result.chapter} {result.exercise}" if result.exercise else "the notebook"
        parts.append(
            f'<dt>{html.escape(name)}</dt><dd style="border-left: 4px solid {colour}"><strong>{word}:</strong> '
            f"{inline_html(clean(result.message))}</dd>"
        )
    return "".join(parts) + ("</dl></section>" if notebook is not None else "</section>")
