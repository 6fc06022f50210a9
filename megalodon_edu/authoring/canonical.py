"""The canonical form of a notebook: pure functions on nbformat's nodes.

A stored notebook holds what every reader's machine prints, and nothing of the machine that ran it: then diffs stay
readable and stored outputs can be compared. `canonicalise` brings a freshly executed notebook into this form,
`problems` says in sentences where a notebook departs from it.
"""

import base64
import copy
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode

from megalodon_edu.authoring.pictures import reduce_colours

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
CELL_METADATA = {"tags", "jupyter"}
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
STATIC = ("image/png", "image/svg+xml", "text/html")
MEASURED = {"measured", "nbval-ignore-output"}
MOST_MEASURED = 3
DECIMALS = 4

TOO_MANY_DECIMALS = re.compile(rf"(?<![\w.])[-+]?\d*\.\d{{{DECIMALS + 1},}}")
MACHINE = {
    "a path of one machine": re.compile(
        r"(?<![\w.:/])/(?:home|Users|root|tmp|work|opt|usr|var|mnt|content)/\S*|\b[A-Z]:\\\S*|\S*site-packages\S*"
    ),
    "a memory address": re.compile(r"\b0x[0-9a-fA-F]{6,}\b"),
}
WALL_CLOCK = re.compile(
    r"CPU times|Wall time|\b\d+(?:\.\d+)?\s?(?:ms|µs|us|ns)\b|\bit/s\b|\bs/it\b"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b\d\d:\d\d:\d\d\b"
)


def canonicalise(notebook: NotebookNode) -> NotebookNode:
    """The same notebook in canonical form: the project's metadata only, counts 1..n, no noise, pictures made small."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = NotebookNode(copy.deepcopy(METADATA))
    notebook.nbformat, notebook.nbformat_minor = 4, max(5, notebook.get("nbformat_minor", 5))
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: value for key, value in cell.metadata.items() if key in CELL_METADATA})
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n"))
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count if cell.execution_count is not None else None
        cell.outputs = [_canonical_output(output, count) for output in _joined_streams(cell.outputs)]
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_measured(cell: NotebookNode) -> bool:
    """True for cells whose output is a measurement of the machine it ran on."""
    return "measured" in _tags(cell)


def problems(notebook: NotebookNode) -> list[str]:
    """Every departure from the canonical form, in a sentence that names the cell; none for a canonical notebook."""
    return [*_whole(notebook), *(problem for cell in _numbered(notebook) for problem in _of_cell(*cell))]


def _whole(notebook: NotebookNode) -> Iterator[str]:
    if notebook.metadata != METADATA:
        yield "the notebook's metadata must be the course's kernelspec and language_info alone"
    cells = code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "execution counts must be 1..n: run all cells from top to bottom in a fresh kernel"
    ids = Counter(cell.get("id") for cell in notebook.cells)
    for name, times in ids.items():
        if name is None or times > 1:
            yield f"{times} cells have the id {name!r}; every cell needs one of its own"
    measured = sum(is_measured(cell) for cell in cells)
    if measured > MOST_MEASURED:
        yield f"{measured} cells are tagged measured; at most {MOST_MEASURED} may be"


def _numbered(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    for number, cell in enumerate(code_cells(notebook), 1):
        yield f"code cell {number} ({cell.get('id')})", cell


def _of_cell(name: str, cell: NotebookNode) -> Iterator[str]:
    if not cell.source.strip():
        yield f"{name} is empty"
    if unknown := set(cell.metadata) - CELL_METADATA:
        yield f"{name} carries the metadata {', '.join(sorted(unknown))}"
    exempt = MEASURED & _tags(cell)
    if exempt and exempt != MEASURED:
        yield f"{name} has one of the tags {' and '.join(sorted(MEASURED))}; they go together"
    for tag in _tags(cell) & {"nbval-skip", "nbval-raises-exception", "raises-exception"}:
        yield f"{name} has the tag {tag}, which would hide a failure"
    if is_measured(cell) and not re.search(r"^\s*assert ", cell.source, re.MULTILINE):
        yield f"{name} is tagged measured but asserts nothing"
    for output in cell.outputs:
        yield from (f"{name} {problem}" for problem in _of_output(output, is_measured(cell)))


def _of_output(output: NotebookNode, measured: bool) -> Iterator[str]:
    if output.output_type == "error":
        yield f"stores an error: {output.ename}"
        return
    if output.get("name") == "stderr":
        yield "prints to stderr"
    data = output.get("data", {})
    if WIDGET in data:
        yield "stores a widget, which is dead without its kernel; only its static picture is kept"
    for kind in PICTURES:
        if kind in data and not _alt(output, kind):
            yield f"shows a picture ({kind}) without alt text; show it with megalodon_edu.plots.style.show"
    for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", "")):
        if not re.search(r"\balt=(\"[^\"]+\"|'[^']+')", tag):
            yield "shows an <img> without alt text"
    for text in _texts(output):
        if number := TOO_MANY_DECIMALS.search(text):
            yield f"prints {number.group()}: more than {DECIMALS} digits after the decimal point"
        for what, pattern in MACHINE.items():
            if found := pattern.search(text):
                yield f"prints {what}: {found.group()}"
        if not measured and (found := WALL_CLOCK.search(text)):
            yield f"prints a time, {found.group()}: tag the cell measured, or leave it out"


def _texts(output: NotebookNode) -> Iterator[str]:
    """What a reader reads of an output: streams and texts, HTML without its tags."""
    if output.output_type == "stream":
        yield output.text
    for kind, content in output.get("data", {}).items():
        if kind == "text/html":
            yield re.sub(r"<style.*?</style>|<script.*?</script>|<svg.*?</svg>|<[^>]*>", " ", content, flags=re.DOTALL)
        elif kind.startswith("text/"):
            yield content


def _alt(output: NotebookNode, kind: str) -> str:
    return output.get("metadata", {}).get(kind, {}).get("alt", "").strip()


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One output per run of prints: how a kernel cuts its stream depends on the machine's speed."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _canonical_output(output: NotebookNode, count: int) -> NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = count
    data: dict[str, Any] = output.get("data", {})
    if WIDGET in data and any(kind in data for kind in STATIC):
        del data[WIDGET]
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            data[kind] = data[kind].replace("\n", "")
    if "image/png" in data:
        data["image/png"] = base64.b64encode(reduce_colours(base64.b64decode(data["image/png"]))).decode()
    return output
