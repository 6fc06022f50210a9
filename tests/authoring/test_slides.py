"""Slides from notebooks: what is shown, what goes to the notes, and what is left out."""

import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from megalodon_edu.authoring.notebooks import read
from megalodon_edu.authoring.slide_page import page
from megalodon_edu.authoring.slide_text import blocks, lead, plain, sentences, to_html
from megalodon_edu.authoring.slides import MOST_CODE, MOST_LINES, slides_of
from megalodon_edu.cli import main

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
LONG = " ".join(f"This is sentence {n}, and it says something that takes room." for n in range(12))


def printing(code, text, **metadata):
    return new_code_cell(code, outputs=[new_output("stream", text=text)], metadata=metadata)


def drawing(code, alt):
    metadata = {"image/png": {"alt": alt}}
    return new_code_cell(
        code, outputs=[new_output("display_data", {"image/png": PIXEL, "text/plain": alt}, metadata=metadata)]
    )


def deck(*cells, **options):
    start = [
        new_markdown_cell("# 99 · A chapter\n\nIts subtitle."),
        new_markdown_cell("- **What you build:** a thing.\n- **Reading:** a minute."),
        new_code_cell("import torch"),
    ]
    return slides_of(new_notebook(cells=[*start, *cells]), **options)


def text_of(slide):
    return plain(" ".join(slide.body))


def test_the_chapter_opens_with_its_title_and_what_is_built():
    title, card = deck()
    assert (title.title, title.kind) == ("99 · A chapter", "title")
    assert "Its subtitle." in text_of(title)
    assert "a thing" in text_of(card) and "a minute" not in text_of(card) and "a minute" in card.notes[0]


def test_a_long_paragraph_is_shortened_and_stands_whole_in_the_notes():
    (slide,) = deck(new_markdown_cell("## Topic"), new_markdown_cell(LONG))[2:]
    assert text_of(slide).startswith("This is sentence 0") and "sentence 11" not in text_of(slide)
    assert "sentence 11" in "".join(slide.notes)


def test_bold_sentences_are_what_a_room_reads():
    assert lead(f"{LONG} **That is the point.**") == "**That is the point.**"
    assert lead("Short. And whole.") == "Short. And whole."


def test_sentences_are_not_cut_inside_equations_code_and_bold_words():
    text = "Take $a. B$ and `x. Y`. Then **it ends.** Look at [this. One](there.md). Done?"
    assert sentences(text) == [
        "Take $a. B$ and `x. Y`.",
        "Then **it ends.**",
        "Look at [this. One](there.md).",
        "Done?",
    ]


def test_a_bold_opening_becomes_the_title():
    cells = [new_markdown_cell("## Where people go wrong"), new_markdown_cell("**Never do this.** Here is why.")]
    slide = deck(*cells, printing("print(1)", "one\n"), new_markdown_cell("So it goes."))[2:]
    assert [one.title for one in slide] == ["Never do this"] * len(slide)
    assert text_of(slide[0]) == "Here is why."
    assert all(one.section == "Where people go wrong" for one in slide)


def test_figures_stand_alone_with_their_words_in_alt_and_notes():
    slides = deck(new_markdown_cell("## Picture\n\nLook at this:"), drawing("draw()", "A blue line that rises."))
    (figure,) = [slide for slide in slides if slide.kind == "figure"]
    assert 'alt="A blue line that rises."' in figure.body[-1] and "Look at this" in figure.body[0]
    assert "draw()" not in "".join(figure.body) and "draw()" in plain("".join(figure.notes))


def test_code_is_shown_with_its_output_where_both_fit_and_apart_where_not():
    short = deck(new_markdown_cell("## Code"), printing("x = 1\nprint(x)", "1\n"))[2:]
    assert len(short) == 1 and len(short[0].body) == 2
    long = deck(new_markdown_cell("## Code"), printing("\n".join(f"x = {n}" for n in range(40)), "1\n"))[2:]
    assert len(long) == 4 and all(len(slide.body) == 1 for slide in long)
    shown = "".join("".join(slide.body) for slide in long)
    assert [shown.count(f">{n}<") for n in (2, 20, 39)] == [1, 1, 1], "no line is lost"


def test_experiments_show_the_result_without_the_code():
    cells = [
        new_markdown_cell("## Predict, run, explain\n\n**Experiment 1.** What comes out?"),
        printing("secret()", "42\n"),
        new_markdown_cell("<details><summary>Explanation</summary>\n\nForty-two.\n\n- so\n\n</details>"),
    ]
    question, result, explanation = deck(*cells)[2:]
    assert (question.title, text_of(question)) == ("Experiment 1", "What comes out?")
    assert "42" in text_of(result) and "secret" not in text_of(result)
    assert explanation.title == "Explanation" and "Forty-two." in text_of(explanation)


def test_exercises_keep_their_stub_and_lose_checks_hints_and_solutions():
    cells = [
        new_markdown_cell("## Exercises\n\nThree."),
        new_markdown_cell("### Exercise 1 · Add ★ · 5 minutes\n\nAdd one."),
        new_code_cell("def add(x):\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
        printing("exercises.add.check(add)", "Not yet", tags=["check"]),
        printing("display(exercises.add.solution())", "return 4711", tags=["solution"]),
    ]
    slides = deck(*cells)
    assert slides[-1].title == "Exercise 1 · Add ★ · 5 minutes"
    shown = plain(page(slides))
    assert "NotImplementedError" in shown and "Add one." in shown
    assert "4711" not in shown and "add.check" not in shown


def test_a_brief_deck_holds_the_lecture_and_no_code():
    cells = [
        new_markdown_cell("## The question\n\n**Why?**"),
        new_markdown_cell("## The package's version\n\nIt is there."),
        new_markdown_cell("## By hand: six tokens"),
        printing("x = 1", "1\n"),
        drawing("draw()", "A line that rises."),
    ]
    slides = deck(*cells, brief=True)
    assert "The package's version" not in [slide.section for slide in slides]
    assert [slide.kind for slide in slides if slide.section.startswith("By hand")] == ["figure"]


def test_details_with_blank_lines_are_one_block():
    found = blocks("Before.\n\n<details><summary>Answers</summary>\n\n1. one\n\n</details>\n\nAfter.")
    assert [block.kind for block in found] == ["paragraph", "details", "paragraph"]


def test_a_notebook_without_a_heading_is_refused():
    with pytest.raises(ValueError, match="notebook must begin with a heading, got 'Hello"):
        slides_of(new_notebook(cells=[new_markdown_cell("Hello.")]))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter(path):
    notebook = read(path)
    slides = slides_of(notebook)
    images = sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))
    assert sum(body.count("<img ") for slide in slides for body in slide.body) == images
    assert all('alt=""' not in body for slide in slides for body in slide.body)
    for slide in slides:
        if slide.kind == "text" and "<table" not in "".join(slide.body):
            assert len(text_of(slide)) < 66 * (MOST_LINES + 5), slide.title
    for slide in slides:
        for code in re.findall(r"<pre.*?</pre>", "".join(slide.body), re.DOTALL):
            assert code.count("\n") <= MOST_CODE + 1
    sections = {slide.section for slide in slides}
    headings = re.findall(r"^## (.*)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    assert {plain(heading) for heading in headings} <= sections, "no section is missing"
    shown = page(slides)
    assert "\\" not in re.sub(r"<[^>]+>", "", "".join(re.findall(r"<math.*?</math>", shown))), "TeX that stayed TeX"
    assert not re.search(r'(?:src|href)="(?!data:)', shown), "nothing is loaded"
    brief = slides_of(notebook, brief=True)
    assert 15 < len(brief) < 0.6 * len(slides)


def test_equations_are_mathml():
    assert to_html("$\\lvert q\\rvert$").count("<math") == 1
    assert "\\" not in re.sub("<[^>]+>", "", to_html("$$\\Bigl\\lvert x \\Bigr\\rvert$$"))


def test_the_command_writes_a_file_and_says_which_chapters_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["slides", "03", "--brief", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "03_complex_ema.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "03_complex_ema.html" in capsys.readouterr().out
    assert main(["slides", "77", "--out", str(tmp_path)]) != 0
    assert "no chapter '77'; ./notebooks holds 00, 01" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["slides", "all"]) != 0
    assert "there is no notebook in ./notebooks" in capsys.readouterr().err
