"""A chapter as slides: one idea on each, figures alone, and everything else in the speaker's notes.

The notebook's own structure decides. A heading names the slides that follow. A paragraph that is too long for a room
is shown by its bold sentences, or its first, and stands whole in the notes. A figure gets a slide of its own. Code is
shown with what it prints where both fit; in experiments and pitfalls only what is printed. Exercises keep their text
and their stub; checks, hints and solutions are left out. At the end stand the questions of the quiz.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode

from megalodon_edu.authoring.slide_text import (
    Block,
    blocks,
    code_html,
    inline_to_html,
    lead,
    output_html,
    plain,
    sentences,
    to_html,
)
from megalodon_edu.exercises.questions import Quiz, chapters

MOST_LINES = 9
"""Lines of text at full size that fit on a slide."""
LETTERS_A_LINE = 66
LONGEST_TEXT = 300
"""Letters of a paragraph that a room reads; experiments and exercises are short, and stand whole."""
MOST_CODE = 16
"""Lines of code and output together on one slide, each of at most CODE_LETTERS."""
CODE_LETTERS = 82
BRIEF = ("The question", "A picture first", "By hand", "Play", "Predict, run, explain", "Recap", "Questions")
"""Sections of a short lecture, by how their headings begin."""
WITHOUT_CODE = ("Predict, run, explain", "Where people go wrong", "Play", "Paper and released code")


@dataclass
class Slide:
    """Title and section, the HTML that is shown, and the HTML of the speaker's notes."""

    title: str
    section: str = ""
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: str = "text"


def slides_of(notebook: NotebookNode, brief: bool = False) -> list[Slide]:
    """The slides of a chapter; `brief` keeps what a lecture needs, see BRIEF.

    Raises ValueError for a notebook that does not begin with a heading.
    """
    deck = _Deck()
    seen_code = False
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if seen_code:  # the first one imports
                deck.add_code(cell)
            seen_code = True
        elif place == 0:
            deck.open(cell.source)
        elif not seen_code:
            deck.add_card(cell.source)
        else:
            deck.add_text(blocks(cell.source))
    deck.place_text()
    chapter = deck.slides[0].title.partition(" ")[0]
    if chapter in chapters():
        deck.slides += _questions(chapter)
    return [slide for slide in deck.slides if _for_a_lecture(slide)] if brief else deck.slides


def _for_a_lecture(slide: Slide) -> bool:
    kept = slide.section == "" or slide.section.startswith(BRIEF)
    return kept and not any('class="code"' in part for part in slide.body)


class _Deck:
    """The slides so far, the headings that hold, and the text that waits for a place."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []
        self.section = self.title = ""
        self.waiting: list[Block] = []

    def open(self, source: str) -> None:
        heading, *rest = blocks(source)
        if heading.kind != "heading":
            raise ValueError(f"notebook must begin with a heading, got {heading.source[:40]!r}")
        subtitle = [f"<p>{inline_to_html(block.source)}</p>" for block in rest]
        self.slides.append(Slide(plain(heading.source.lstrip("# ")), body=subtitle, kind="title"))

    def add_card(self, source: str) -> None:
        lines = [line[2:] for line in source.splitlines() if line.startswith("- ")]
        shown = [line for line in lines if re.match(r"\*\*What you (build|need)", line)]
        body = [f"<p>{inline_to_html(line)}</p>" for line in shown]
        notes = [
            f"<p>{inline_to_html(line)}</p>" for line in lines if line not in shown and "Find your way" not in line
        ]
        self.slides.append(Slide("In this chapter", body=body, notes=notes))

    def add_text(self, found: Iterable[Block]) -> None:
        for block in found:
            if block.kind == "heading":
                self.place_text()
                level, _, words = block.source.partition(" ")
                self.title = plain(words)
                self.section = self.title if len(level) < 3 else self.section
            elif block.kind == "details":
                self.place_text()
                self._place_details(block.source)
            else:
                if _opens_a_topic(block):
                    self.place_text()
                self.waiting.append(block)

    def place_text(self, keep_last: bool = False) -> Block | None:
        """Put the waiting text on slides. With `keep_last`, a short last paragraph is returned for the next slide."""
        last = self.waiting[-1] if self.waiting else None
        if keep_last and last is not None and last.kind == "paragraph" and not _opens_a_topic(last):
            if len(plain(lead(last.source))) <= 170:
                self.waiting.pop()
            else:
                last = None
        else:
            last = None
        if self.waiting:
            self.slides += _text_slides(self.waiting, self._title(), self.section)
            self.waiting = []
        return last

    def add_code(self, cell: NotebookNode) -> None:
        tags = cell.metadata.get("tags", [])
        if "check" in tags or "solution" in tags:
            return
        if "exercise" in tags:
            self._place_exercise(cell.source)
            return
        figures, text = list(_figures(cell)), _printed(cell)
        if not figures and not text:
            return
        caption = self.place_text(keep_last=True)
        hidden = bool(figures) or self.section in WITHOUT_CODE
        title = self._title()
        slides = [_figure_slide(title, self.section, image, alt) for image, alt in figures]
        if figures and self.section == "Play":
            slides[0].body.insert(
                0, '<p class="caption">The explorer of this chapter: move it live, in the notebook.</p>'
            )
        if figures and _code_lines(text) <= 2:
            slides[0].body += [output_html(text)] if text else []
        else:
            slides += _code_slides(title, self.section, "" if hidden else cell.source, text)
        if caption is not None:
            slides[0].body.insert(0, f'<p class="caption">{inline_to_html(lead(caption.source))}</p>')
            slides[0].notes.insert(0, to_html(caption.source))
        if hidden:
            slides[-1].notes.append(f"<p>The cell:</p>{code_html(cell.source)}")
        self.slides += slides

    def _title(self) -> str:
        """The last heading; after an experiment or a pitfall, the title that it gave its slide."""
        last = self.slides[-1]
        return last.title if last.section == self.section and self.section in WITHOUT_CODE else self.title

    def _place_exercise(self, stub: str) -> None:
        waiting, self.waiting = self.waiting, []
        shown = [
            f"<p>{inline_to_html(lead(block.source, LONGEST_TEXT))}</p>"
            for block in waiting
            if block.kind == "paragraph"
        ]
        notes = [to_html(block.source) for block in waiting]
        if _code_lines(stub) + sum(_lines(block.source) for block in waiting) <= MOST_CODE - 2:
            self.slides.append(Slide(self.title, self.section, [*shown, code_html(stub)], notes, "code"))
            return
        self.slides.append(Slide(self.title, self.section, shown, notes))
        self.slides += _code_slides(self.title, self.section, stub, "")

    def _place_details(self, source: str) -> None:
        summary = re.search(r"<summary>(.*?)</summary>", source, re.DOTALL)
        inner = re.sub(r"<summary>.*?</summary>|</?details>", "", source, flags=re.DOTALL)
        title = plain(summary.group(1)) if summary else "Answer"
        self.slides += _text_slides(blocks(inner), title, self.section)


def _opens_a_topic(block: Block) -> bool:
    """Whether a paragraph begins with bold words that end a sentence: they become the title of a slide."""
    return block.kind == "paragraph" and bool(re.match(r'\*\*[^*]+[.?!]["”]?\*\*(\s|$)', block.source))


def _text_slides(found: list[Block], title: str, section: str) -> Iterator[Slide]:
    """Slides of at most MOST_LINES lines; a bold opening becomes the title."""
    slide, used = Slide(title, section), 0
    for block in found:
        source = block.source
        if _opens_a_topic(block):
            opening, *rest = sentences(source)
            if slide.body:
                yield slide
            slide, used = Slide(plain(opening).strip('".:“”'), section, notes=[to_html(source)]), 0
            if not rest:
                continue
            source = " ".join(rest)
        for shown, whole, lines in _pieces(Block(block.kind, source)):
            if slide.body and used + lines > MOST_LINES:
                yield slide
                slide, used = Slide(slide.title, section), 0
            slide.body.append(shown)
            if whole:
                slide.notes.append(whole)
            used += lines
    if slide.body or slide.notes:
        yield slide


def _pieces(block: Block) -> Iterator[tuple[str, str, int]]:
    """What is shown of a block, what the notes say about it, and the lines it takes."""
    if block.kind == "paragraph":
        short = lead(block.source, LONGEST_TEXT)
        yield to_html(short), to_html(block.source) if short != block.source else "", _lines(short)
    elif block.kind == "list":
        items = re.split(r"\n(?=- |\d+\. )", block.source)
        held: list[str] = []
        used = 0
        for item in items:
            words = re.sub(r"^(- |\d+\. )", "", item)
            short = re.match(r"- |\d+\. ", item).group() + lead(words, 240)  # type: ignore[union-attr]
            if held and used + _lines(short) > MOST_LINES:
                yield to_html("\n".join(held)), "", used
                held, used = [], 0
            held.append(short)
            used += _lines(short)
        yield to_html("\n".join(held)), to_html(block.source), used
    elif block.kind == "table":
        yield to_html(block.source), "", 1 + len(block.source.splitlines())
    elif block.kind == "math":
        yield to_html(block.source), "", 3 * block.source.count("$$") // 2
    else:
        yield to_html(block.source), "", _lines(block.source)


def _code_slides(title: str, section: str, code: str, text: str) -> list[Slide]:
    """Code and what it prints: on one slide where both fit, else apart, and each on as many slides as it takes."""
    if code and text and _code_lines(code) + _code_lines(text) <= MOST_CODE:
        return [Slide(title, section, [code_html(code), output_html(text)], [], "code")]
    bodies = [code_html(part) for part in _cut(code)] + [output_html(part) for part in _cut(text)]
    return [Slide(title, section, [body], [], "code") for body in bodies]


def _cut(source: str) -> list[str]:
    """Code or output in parts of at most MOST_CODE lines, cut at blank lines where there are some."""
    parts: list[str] = []
    held: list[str] = []
    for line in source.strip("\n").splitlines():
        if held and _code_lines("\n".join([*held, line])) > MOST_CODE:
            blank = max((place for place, text in enumerate(held) if not text), default=0)
            cut = blank if _code_lines("\n".join(held[:blank])) > MOST_CODE / 3 else len(held)
            parts.append("\n".join(held[:cut]))
            held = held[cut:]
        held.append(line)
    return [part.strip("\n") for part in [*parts, "\n".join(held)] if part.strip()]


def _code_lines(source: str) -> int:
    return sum(1 + len(line) // CODE_LETTERS for line in source.splitlines())


def _figure_slide(title: str, section: str, image: str, alt: str) -> Slide:
    picture = f'<img src="data:image/png;base64,{image}" alt="{html.escape(alt)}">'
    return Slide(title, section, [picture], [f"<p>The figure in words: {html.escape(alt)}</p>"], "figure")


def _figures(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt") or data.get("text/plain", "")
            yield "".join(data["image/png"]).replace("\n", ""), " ".join(alt.split())


def _printed(cell: NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream").strip("\n")


def _lines(source: str) -> int:
    return max(1, -(-len(plain(source)) // LETTERS_A_LINE))


def _questions(chapter: str) -> Iterator[Slide]:
    """Each question of the quiz, and its answer on the next slide."""
    for number, question in enumerate(Quiz([chapter]).questions, 1):
        asked = f"<p>{inline_to_html(question.question)}</p>"
        choices = "".join(f"<li>{inline_to_html(choice.text)}</li>" for choice in question.shown)
        body = [asked, f'<ol class="choices">{choices}</ol>'] if choices else [asked]
        reasons = [(choice.text, choice.why) for choice in question.shown]
        reasons += [(f"{slip.value:g}", slip.why) for slip in question.slips]
        wrong = [f"<p><strong>{html.escape(said)}</strong> {html.escape(why)}</p>" for said, why in reasons]
        yield Slide(f"Question {number}", "Questions", body, ["<p>Let everybody commit first, by a show of hands.</p>"])
        answer = f'<p class="answer">{inline_to_html(question.right)}</p><p>{inline_to_html(question.reason)}</p>'
        yield Slide(f"Question {number}: the answer", "Questions", [answer], wrong)
