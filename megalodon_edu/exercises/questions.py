"""The quiz: forty questions in `questions.json`, as a widget for notebooks and static pages.

    from megalodon_edu.exercises import quiz
    quiz("03")                                  in a notebook: the questions of chapter 03
    questions.page_html(["03", "04"])           for a static page: the same markup, style and script

What is shown is one piece of HTML that needs no kernel and no network. Where scripts do not run (on GitHub, in print),
it is a list with the answers folded away. In the data the right choice comes first; on the page the order is mixed, in
the same way every time.
"""

import hashlib
import html
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from megalodon_edu.arguments import require_choice
from megalodon_edu.exercises.display import inline_html

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Choice:
    """One answer to choose, and what is said to who chose it."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Slip:
    """A wrong number, and the mistake that leads to it."""

    value: float
    why: str


@dataclass(frozen=True)
class Question:
    """A question with choices, or one with a number: `answer`, right within `tolerance`."""

    id: str
    chapter: str
    question: str
    choices: tuple[Choice, ...] = ()
    answer: float = 0.0
    tolerance: float = 0.0
    unit: str = ""
    explanation: str = ""
    slips: tuple[Slip, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the answer is a number."""
        return not self.choices

    @property
    def shown(self) -> list[Choice]:
        """The choices in the order of the page."""
        return sorted(self.choices, key=lambda choice: hashlib.sha256(f"{self.id} {choice.text}".encode()).digest())

    @property
    def right(self) -> str:
        """The right answer in words."""
        if self.numeric:
            return f"{self.answer:,.10g} {self.unit}".strip()
        return next(choice.text for choice in self.choices if choice.right)

    @property
    def reason(self) -> str:
        """Why it is right."""
        return self.explanation or next(choice.why for choice in self.choices if choice.right)


@cache
def questions() -> tuple[Question, ...]:
    """All questions, chapter by chapter."""
    return tuple(map(_read, json.loads((HERE / "questions.json").read_text(encoding="utf-8"))))


def chapters() -> list[str]:
    """The chapters that have questions: "00", "01", ..."""
    return sorted({question.chapter for question in questions()})


def quiz(*wanted: str) -> "Quiz":
    """The questions of some chapters ("03"), or all of them. Raises ValueError for a chapter that has none."""
    return Quiz(wanted)


class Quiz:
    """Questions as a notebook shows them: live where scripts run, a list with folded answers elsewhere."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        for chapter in wanted:
            require_choice("chapter", chapter, chapters())
        self.chapters = list(wanted) or chapters()
        self.questions = [question for question in questions() if question.chapter in self.chapters]

    @property
    def title(self) -> str:
        """What stands above the questions."""
        if len(self.chapters) == 1:
            return f"Quiz for chapter {self.chapters[0]}"
        return f"Quiz for the chapters {self.chapters[0]} to {self.chapters[-1]}"

    def html(self, level: int = 3) -> str:
        """The questions as one `<section>` under a heading of this level, without style and script."""
        data = html.escape(json.dumps([_data(question) for question in self.questions], ensure_ascii=False))
        listed = "".join(_listed(question) for question in self.questions)
        title = f'<h{level} class="mq-title">{self.title}</h{level}>'
        hint = f'<p class="mq-hint">{_count(len(self.questions))}. Commit to an answer before you look.</p>'
        return (
            f'<section class="mq" aria-label="{self.title}" data-questions="{data}">'
            f'<header>{title}{hint}</header><ol class="mq-list">{listed}</ol></section>'
        )

    def __repr__(self) -> str:
        blocks = []
        for number, question in enumerate(self.questions, 1):
            lines = [f"{number}. {question.question}"]
            lines += [f"   {string.ascii_lowercase[at]}) {choice.text}" for at, choice in enumerate(question.shown)]
            blocks.append("\n".join(lines))
        return f"{self.title}\n\n" + "\n\n".join(blocks)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html() + assets_html()}


def page_html(wanted: Sequence[str] = ()) -> str:
    """HTML for a static page: a section for each wanted chapter (all by default), then style and script once."""
    return "".join(Quiz([chapter]).html(level=2) for chapter in wanted or chapters()) + assets_html()


def assets_html() -> str:
    """Style and script. They may stand on a page more than once: a quiz that is live already is left alone."""
    css, script = ((HERE / name).read_text(encoding="utf-8") for name in ("quiz.css", "quiz.js"))
    return f"<style>{css}</style><script>{script}</script>"


def _read(entry: dict[str, Any]) -> Question:
    kept = {key: value for key, value in entry.items() if key not in ("kind", "choices", "slips")}
    choices = tuple(Choice(**choice) for choice in entry.get("choices", ()))
    return Question(**kept, choices=choices, slips=tuple(Slip(**slip) for slip in entry.get("slips", ())))


def _data(question: Question) -> dict[str, Any]:
    """What the script gets; texts are HTML already."""
    shared = {"id": question.id, "question": inline_html(question.question)}
    if not question.numeric:
        answers = [
            {"text": inline_html(choice.text), "why": inline_html(choice.why), "right": choice.right}
            for choice in question.shown
        ]
        return {**shared, "choices": answers}
    slips = [{"value": slip.value, "why": inline_html(slip.why)} for slip in question.slips]
    number = {"answer": question.answer, "tolerance": question.tolerance, "unit": question.unit}
    return {**shared, **number, "right": question.right, "why": inline_html(question.explanation), "slips": slips}


def _listed(question: Question) -> str:
    choices = "".join(f"<li>{inline_html(choice.text)}</li>" for choice in question.shown)
    answer = f"<strong>{inline_html(question.right)}</strong> {inline_html(question.reason)}"
    folded = f"<details><summary>Answer</summary><p>{answer}</p></details>"
    return f"<li><p>{inline_html(question.question)}</p>{f'<ul>{choices}</ul>' if choices else ''}{folded}</li>"


def _count(number: int) -> str:
    return "One question" if number == 1 else f"{number} questions"
