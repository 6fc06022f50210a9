"""The numbers in docs/provenance.md are those of the manifest."""

from pathlib import Path

import pytest

from megalodon_edu.data import SPLITS, documents, library

PAGE = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text(encoding="utf-8")


def table(heading):
    """Return the rows of the table whose first column has this heading, as lists of cells."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def summary(texts):
    """Return the number of texts and of bytes, as the page writes them."""
    return [f"{len(texts):,}", f"{sum(text.size for text in texts):,}"]


def test_sources():
    expected = {}
    for text in library():
        expected.setdefault((text.author, text.source), []).append(text)
    rows = table("Author | Source")
    assert {(author, source): numbers for author, source, *numbers in rows[:-1]} == {
        key: summary(texts) for key, texts in expected.items()
    }
    assert rows[-1] == ["all", "", *summary(library())]


def test_splits():
    assert {split: numbers for split, *numbers, _ in table("Split | Texts")} == {
        split: summary(documents(split)) for split in SPLITS
    }


@pytest.mark.parametrize("author", [row[0] for row in table("Author | train")])
def test_splits_by_author(author):
    (cells,) = [row[1:] for row in table("Author | train") if row[0] == author]
    for split, cell in zip(SPLITS, cells, strict=True):
        texts = [text for text in documents(split) if text.author == author]
        count, size = summary(texts)
        if not texts:
            assert cell == ""
        elif len(texts) == 1:
            assert cell == f"{texts[0].title}, {size} bytes"
        else:
            years = {text.year for text in texts}
            span = f", {min(years)} to {max(years)}" if author == "State of the Union" else ""
            assert cell == f"{count} texts, {size} bytes{span}"


def test_every_author_has_a_row():
    assert {row[0] for row in table("Author | train")} == {text.author for text in library()}


def test_numbers_in_the_prose():
    count, size = summary(library())
    assert f"{count} texts in English, {size} bytes" in PAGE
    assert f"All {count} texts are marked `public domain`" in PAGE
    assert {text.licence for text in library()} == {"public domain"}
    beyond_ascii = sum(not text.text.isascii() for text in library())
    assert f"{beyond_ascii} of the {count} hold a character outside ASCII" in PAGE
    used = set().union(*(text.text for text in library()))
    assert f"uses {len(used)} of the 256 bytes" in PAGE
    messages = [text.year for text in library() if text.author == "State of the Union"]
    assert f"presidents of the United States, {min(messages)} to {max(messages)}" in PAGE


def test_the_crown_rights_in_the_king_james_bible_are_told():
    paragraph = next(part for part in PAGE.split("\n- ") if "King James Bible is not free everywhere" in part)
    for words in ("United Kingdom", "Crown", "letters patent", "Elsewhere the text is free"):
        assert words in " ".join(paragraph.split())
