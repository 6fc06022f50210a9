"""How a notebook becomes a page of the web book."""

import base64
import json
import subprocess

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from megalodon_edu import explorers
from megalodon_edu.authoring import book
from megalodon_edu.authoring.book import BookFailed, Shown
from megalodon_edu.explorers import EMAExplorer, MemoryWallExplorer, RunBrowserExplorer
from megalodon_edu.project import first_lines
from megalodon_edu.recordings import recording

IMPORT = "from megalodon_edu.explorers import EMAExplorer, MemoryWallExplorer"


def notebook(*sources, title="# 01 · Averages"):
    return new_notebook(cells=[new_markdown_cell(title), *map(new_code_cell, sources)])


def pictured(explorer, source):
    """A cell that shows an explorer, with the output that a notebook stores."""
    _, metadata = explorer._repr_mimebundle_()
    data = {"image/png": base64.b64encode(b"picture").decode(), "text/plain": ""}
    return new_code_cell(source, outputs=[new_output("display_data", data, metadata=metadata)])


def test_an_explorer_is_made_from_the_lines_it_needs_and_no_others():
    sources = [
        "%matplotlib inline\n" + IMPORT,
        "import math\nhalf = 0.4",
        "raise RuntimeError('a long training run')",
        "def alpha(steps):\n    other = steps\n    return half / other",
        "half = 0.2\nhalf = [value for value in (half,)][0]",
        "model = '7B'\nMemoryWallExplorer(model=model)",
        "EMAExplorer(alpha=alpha(2), signal='two spikes')",
    ]
    wall, ema = book.explorers_in("01_averages", notebook(*sources))
    assert (isinstance(wall.explorer, MemoryWallExplorer), wall.explorer.model, wall.cell) == (True, "7B", 6)
    assert (ema.explorer.alpha, ema.explorer.signal, ema.cell) == (0.1, "two spikes", 7)


def test_what_a_loop_leaves_is_needed_too():
    sources = [IMPORT.replace(", MemoryWallExplorer", ""), "alpha = 0.9", "for _ in range(2):\n    alpha /= 3"]
    (shown,) = book.explorers_in("01_averages", notebook(*sources, "EMAExplorer(alpha=alpha)"))
    assert shown.explorer.alpha == pytest.approx(0.1)


def test_what_is_stored_into_a_container_is_needed_too():
    sources = [IMPORT.replace(", MemoryWallExplorer", ""), "given = {}\ngiven['alpha'] = 0.3"]
    loop = "for name in ('signal',):\n    given[name] = 'two spikes'\nEMAExplorer(**given)"
    (shown,) = book.explorers_in("01_averages", notebook(*sources, loop))
    assert (shown.explorer.alpha, shown.explorer.signal) == (0.3, "two spikes")


def test_what_a_loop_binds_itself_is_not_needed_and_what_it_adds_to_is():
    sources = [IMPORT.replace(", MemoryWallExplorer", ""), "for part in (1, 2):\n    raise RuntimeError('a long run')"]
    sources += ["alpha = 0.1", "for part in (0.2, 0.1):\n    alpha += part"]
    (shown,) = book.explorers_in("01_averages", notebook(*sources, "EMAExplorer(alpha=alpha)"))
    assert shown.explorer.alpha == pytest.approx(0.4)


def test_an_explorer_that_cannot_be_made_or_is_never_shown_is_an_error():
    with pytest.raises(BookFailed, match="imports EMAExplorer, MemoryWallExplorer and never shows it"):
        book.explorers_in("01_averages", notebook(IMPORT, "EMAExplorer().values()"))
    with pytest.raises(
        BookFailed, match=r"01_averages, cell 2: EMAExplorer\(alpha=7\) failed .*alpha must lie between"
    ):
        book.explorers_in("01_averages", notebook(IMPORT, "EMAExplorer(alpha=7)"))


def test_a_page_carries_the_explorers_state_and_its_picture(tmp_path):
    explorer = EMAExplorer(alpha=0.25)
    stored = notebook(IMPORT)
    stored.cells.append(pictured(explorer, "EMAExplorer(alpha=0.25)"))
    page = book.as_page("01_averages", stored, [Shown(2, explorer)], tmp_path / "pictures")
    assert "open `notebooks/01_averages.ipynb` in JupyterLab" in page.cells[1].source
    living = page.cells[3].outputs[0].data["text/html"]
    state = json.loads(living.partition('json">')[2].partition("</script>")[0])
    assert {key: state[key] for key in explorer.settings()} == explorer.settings()
    assert state["bounds"]["alpha"] == [0.01, 0.99] and set(state["constants"]) == {"signals"}
    assert 'src="_static/explorers/EMAExplorer.js"' in living
    assert (tmp_path / "pictures" / "01_averages-2.png").read_bytes() == b"picture"
    assert "image/png" in stored.cells[2].outputs[0].data, "the stored notebook is changed"


def test_a_picture_of_other_settings_is_an_error(tmp_path):
    stored = notebook(IMPORT)
    stored.cells.append(pictured(EMAExplorer(alpha=0.5), "EMAExplorer(alpha=0.25)"))
    with pytest.raises(BookFailed, match="01_averages, cell 2 holds the picture of an explorer with other settings"):
        book.as_page("01_averages", stored, [Shown(2, EMAExplorer(alpha=0.25))], tmp_path)
    stored.cells[2].outputs = []
    with pytest.raises(BookFailed, match="cell 2 holds no picture"):
        book.as_page("01_averages", stored, [Shown(2, EMAExplorer(alpha=0.25))], tmp_path)


PAGES = {
    "notebooks/02_more.ipynb": "02_more.ipynb",
    "notebooks/on_a_gpu/02_more.ipynb": "on_a_gpu_02_more.ipynb",
    "docs/kernels.md": "kernels.md",
}


def test_links_lead_to_pages_of_the_book_or_are_refused():
    page = notebook(
        title="# 01\n\n[log](../docs/kernels.md#floors), [next](02_more.ipynb), [GPU](on_a_gpu/02_more.ipynb)"
    )
    book.lead_inside(page, "notebooks/01_averages.ipynb", PAGES)
    assert page.cells[0].source.endswith(
        "[log](kernels.md#floors), [next](02_more.ipynb), [GPU](on_a_gpu_02_more.ipynb)"
    )
    copied = notebook(title="[here](#place), [chapter](../02_more.ipynb), [web](https://example.org/a)")
    book.lead_inside(copied, "notebooks/on_a_gpu/02_more.ipynb", PAGES)
    assert copied.cells[0].source == "[here](#place), [chapter](02_more.ipynb), [web](https://example.org/a)"
    for lost in ("../LICENSE", "03_lost.ipynb"):
        with pytest.raises(BookFailed, match=f"notebooks/01_averages.ipynb links to {lost}, which is no page"):
            book.lead_inside(notebook(title=f"[there]({lost})"), "notebooks/01_averages.ipynb", PAGES)


def test_a_picture_keeps_its_words_and_its_size_and_one_without_words_is_an_error(tmp_path):
    output = new_output("display_data", {"image/png": base64.b64encode(b"curve").decode()})
    stored = notebook("plot()")
    stored.cells[1].outputs = [output]
    with pytest.raises(BookFailed, match="the picture 01_averages-1-0 has no alt text"):
        book.as_page("01_averages", stored, [], tmp_path)
    output.metadata = {"image/png": {"alt": 'One "line" < 1', "width": 30, "height": 20}}
    shown = book.as_page("01_averages", stored, [], tmp_path).cells[2].outputs[0].data["text/html"]
    assert shown == (
        '<img src="_static/pictures/01_averages-1-0.png" alt="One &quot;line&quot; &lt; 1" width="30" height="20">'
    )
    assert (tmp_path / "01_averages-1-0.png").read_bytes() == b"curve"


def test_a_page_shows_no_installation_and_the_start_page_no_code(tmp_path):
    stored = notebook(f"{first_lines()}\nimport math", "x = 1")
    page = book.as_page("01_averages", stored, [], tmp_path)
    assert [cell.source for cell in page.cells[2:]] == ["import math", "x = 1"]
    assert not any("tags" in cell.metadata for cell in page.cells[2:])
    start = book.as_page("index", stored, [], tmp_path)
    assert all("remove-input" in cell.metadata.tags for cell in start.cells[2:])
    assert 'data-explorer="PolePlaneExplorer"' in start.cells[1].source


def test_no_text_in_a_state_can_end_its_script():
    runs = {"</script><b>": recording("tiny_cpu").folder / "log.csv"}
    living = book.living_html(RunBrowserExplorer(runs), "")
    assert "</script><b>" not in living and "\\u003c/script>" in living


@pytest.mark.parametrize("name", explorers.__all__)
def test_the_books_script_is_the_module_of_jupyterlab(name):
    explorer = getattr(explorers, name)
    script = book.classic_script(explorer)
    first, *lines, last = script.splitlines()
    assert first.endswith(f".{name} = (() => {{") and last == "})();"
    module = "\n".join(lines).replace("return { render", "export default { render") + "\n"
    assert module == explorer._esm.rstrip() + "\n"
    assert "import" not in {line.partition(" ")[0] for line in lines}


def test_the_contents_are_in_book_order_and_complete():
    made = book.contents(["00_a", "01_b", "10_c", "glossary", "index"])
    assert made["root"] == "index"
    assert [each["file"] for each in made["parts"][0]["chapters"]] == ["00_a", "01_b", "10_c"]
    more = book.contents(["00_a", "glossary", "index", "on_a_gpu_00_a"])["parts"][1]["chapters"]
    assert more[-1] == {"file": "on_a_gpu_00_a", "title": "00 on a GPU"}
    with pytest.raises(BookFailed, match="scratch has no place in the book"):
        book.contents(["index", "glossary", "scratch"])


def test_a_folder_that_holds_no_book_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BookFailed, match="holds something else than a book"):
        book.build(tmp_path, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_what_the_builder_says_is_passed_on(monkeypatch):
    def failing(*args, **kwargs):
        return subprocess.CompletedProcess(args, 1, stdout="", stderr="WARNING: a heading is missing")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(BookFailed, match="a heading is missing"):
        book._call("-m", "sphinx")
