"""A chapter that another machine ran: its outputs there, its text and its links from the chapter."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from megalodon_edu.authoring.canonical import problems
from megalodon_edu.authoring.copies import NOTE, CopyOutdated, renewed, run_copy
from megalodon_edu.authoring.notebooks import read
from megalodon_edu.cli import main

pytestmark = [pytest.mark.notebook, pytest.mark.timeout(120)]

TEXT = "See [two](02_two.ipynb#here), [log](../docs/log.md), [above](#title), [web](https://example.org/a) and $f](x)$."
LED = "See [two](../02_two.ipynb#here), [log](../../docs/log.md), [above](#title), [web](https://example.org/a)"


@pytest.fixture
def chapter(tmp_path):
    path = tmp_path / "notebooks" / "01_one.ipynb"
    path.parent.mkdir()
    return stored(path, TEXT, "import time\n\nprint(time.time() // 1e9)")


def stored(path, text, source):
    cells = [("title", "# 01 · One"), ("text", text)]
    markdown = [new_markdown_cell(words, id=name) for name, words in cells]
    nbformat.write(new_notebook(cells=[*markdown, new_code_cell(source, id="code")]), path)
    return path


def test_a_copy_says_where_it_ran_and_leads_where_the_chapter_leads(chapter):
    before = chapter.read_bytes()
    assert main(["notebooks", "run", str(chapter), "--into", str(chapter.parent / "elsewhere")]) == 0
    assert chapter.read_bytes() == before
    title, note, text, code = read(chapter.parent / "elsewhere" / chapter.name).cells
    assert title.source == "# 01 · One" and note.id == NOTE
    assert "Python 3." in note.source and note.source.endswith("take [01 · One](../01_one.ipynb).")
    assert text.source.startswith(LED)
    assert code.outputs[0].text == "1.0\n"


def test_a_copy_keeps_its_outputs_and_takes_the_text_that_the_chapter_has_now(chapter, monkeypatch):
    path = run_copy(chapter, chapter.parent / "elsewhere", 60)
    kept = read(path)
    kept.cells[3].outputs[0].text = "of a far machine\n"
    nbformat.write(kept, path)
    stored(chapter, "Better words, [two](02_two.ipynb).", "import time\n\nprint(time.time() // 1e9)")
    checkpoint = chapter.parent / ".ipynb_checkpoints" / "01_one-checkpoint.ipynb"
    checkpoint.parent.mkdir()
    checkpoint.write_text("of an editor, and no copy")
    monkeypatch.chdir(chapter.parent.parent)
    assert main(["notebooks", "copies"]) == 0
    now = read(path)
    assert [cell.source for cell in now.cells[2:3]] == ["Better words, [two](../02_two.ipynb)."]
    assert now.cells[1] == kept.cells[1]
    assert (now.cells[3].outputs, now.cells[3].execution_count) == (kept.cells[3].outputs, 1)
    assert problems(now) == []


def test_a_copy_of_other_code_is_refused_and_stays(chapter, monkeypatch, capsys):
    path = run_copy(chapter, chapter.parent / "elsewhere", 60)
    before = path.read_bytes()
    stored(chapter, TEXT, "print(2)")
    monkeypatch.chdir(chapter.parent.parent)
    assert main(["notebooks", "copies"]) == 1
    said = capsys.readouterr().out
    assert "the chapter's code has changed (cell code)" in said and "--into notebooks/elsewhere" in said
    assert path.read_bytes() == before
    nbformat.write(new_notebook(cells=read(chapter).cells[:2]), chapter)
    with pytest.raises(CopyOutdated, match="0 code cells for 1"):
        renewed(read(path), chapter, path.parent)
