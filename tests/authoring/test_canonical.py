"""What the canonical form removes, and what it complains about."""

import base64
import io

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from megalodon_edu.authoring.canonical import METADATA, WIDGET, canonicalise, problems


def stored(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def shown(data, metadata=None):
    return new_output("display_data", data=data, metadata=metadata or {})


def notebook(*outputs, source="print(1)", tags=()):
    cell = new_code_cell(source, execution_count=1, outputs=list(outputs), id="c-1", metadata={"tags": list(tags)})
    return new_notebook(cells=[new_markdown_cell("# Title", id="c-0"), cell], metadata=METADATA)


def test_a_canonical_notebook_has_no_problems():
    assert problems(notebook(printed("0.1234 and 17 and 1.5e-05\n"))) == []


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (printed("0.12345\n"), "prints 0.12345: more than 4 digits"),
        (printed("-1.234567e-05\n"), "prints -1.234567: more than 4 digits"),
        (printed("tensor([.123456])"), "more than 4 digits"),
        (printed("saved /home/ada/model.pt\n"), "a path of one machine: /home/ada/model.pt"),
        (printed(r"saved C:\Users\ada\model.pt"), "a path of one machine"),
        (printed("<object at 0x7f1aac9223e0>"), "a memory address: 0x7f1aac9223e0"),
        (printed("took 12 ms"), "prints a time, 12 ms"),
        (printed("CPU times: user"), "prints a time"),
        (printed("at 2024-05-01 12:30"), "prints a time"),
        (printed("warning", name="stderr"), "prints to stderr"),
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "stores an error: ValueError"),
        (shown({"image/png": "AAAA"}), "a picture (image/png) without alt text"),
        (shown({"image/svg+xml": "<svg/>"}, {"image/svg+xml": {"alt": " "}}), "without alt text"),
        (shown({"text/html": '<img src="a.png">'}), "an <img> without alt text"),
        (shown({"text/html": '<img src="a.png" alt="">'}), "an <img> without alt text"),
        (shown({"text/html": "<td>0.123456</td>"}), "more than 4 digits"),
        (shown({WIDGET: {"model_id": "1"}}), "stores a widget"),
    ],
)
def test_noise_is_named_with_its_cell(output, complaint):
    (problem,) = problems(notebook(output))
    assert problem.startswith("code cell 1 (c-1) ")
    assert complaint in problem


@pytest.mark.parametrize(
    "output",
    [
        printed("torch 2.13.0, 1,234.5678 and a/b and 10:30"),
        shown({"image/png": "AAAA", "text/plain": ""}, {"image/png": {"alt": "A falling line."}}),
        shown({"text/html": '<img src="data:image/png;base64,0.123456/tmp/" alt="A falling line.">'}),
        shown({"text/html": '<svg><path d="M 0.123456 1"/></svg><p style="opacity: 0.123456">0.1</p>'}),
    ],
)
def test_what_is_no_noise_passes(output):
    assert problems(notebook(output)) == []


def test_every_code_cell_must_have_run():
    stripped = notebook(printed("1"))
    stripped.cells[1].execution_count = None
    stripped.cells[1].outputs = []
    assert problems(stripped) == ["execution counts must be 1..n: run all cells from top to bottom in a fresh kernel"]


def test_cells_need_ids_of_their_own():
    doubled = notebook(printed("1"))
    doubled.cells[0].id = "c-1"
    assert problems(doubled) == ["2 cells have the id 'c-1'; every cell needs one of its own"]


def test_foreign_metadata_is_refused():
    edited = notebook(printed("1"))
    edited.metadata["language_info"] = {**METADATA["language_info"], "version": "3.11.2"}
    assert "metadata" in problems(edited)[0]


MEASURED = ["measured", "nbval-ignore-output"]


def test_measured_cells_may_print_times():
    assert problems(notebook(printed("12 ms"), source="assert True", tags=MEASURED)) == []


def test_measured_cells_may_not_print_paths():
    assert problems(notebook(printed("/tmp/x"), source="assert True", tags=MEASURED))


@pytest.mark.parametrize(
    ("tags", "source", "complaint"),
    [
        (MEASURED, "print(1)", "asserts nothing"),
        (["measured"], "assert True", "they go together"),
        (["nbval-ignore-output"], "assert True", "they go together"),
        (["nbval-skip"], "1", "would hide a failure"),
        (["raises-exception"], "1", "would hide a failure"),
        ([], " ", "is empty"),
    ],
)
def test_tags_cannot_hide_a_cell(tags, source, complaint):
    (problem,) = problems(notebook(source=source, tags=tags))
    assert complaint in problem


def test_at_most_three_cells_are_measured():
    many = notebook()
    many.cells = [
        new_code_cell("assert True", execution_count=n, id=f"c-{n}", metadata={"tags": MEASURED}) for n in range(1, 5)
    ]
    assert problems(many) == ["4 cells are tagged measured; at most 3 may be"]


def test_canonicalise_removes_what_one_machine_left():
    result = new_output("execute_result", data={"text/plain": "1"}, execution_count=7)
    messy = notebook(printed("a"), printed("b\n"), result)
    messy.cells[1].execution_count = 7
    messy.cells[1].metadata.update(execution={"iopub.status.busy": "2024"}, collapsed=True, tags=["exercise"])
    messy.metadata["language_info"]["version"] = "3.11.2"
    messy.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    clean = canonicalise(messy)
    assert problems(clean) == []
    assert clean.metadata == METADATA
    assert clean.cells[1].metadata == {"tags": ["exercise"]}
    assert [output.get("text") for output in clean.cells[1].outputs] == ["ab\n", None]
    assert clean.cells[1].outputs[1].execution_count == clean.cells[1].execution_count == 1
    assert messy.cells[1].execution_count == 7, "the notebook given must stay as it was"


def test_canonicalise_is_idempotent():
    once = canonicalise(notebook(printed("a"), printed("b\n"), source="\nprint(1)  \n"))
    assert canonicalise(once) == once
    assert once.cells[1].source == "print(1)"


def test_a_widget_keeps_its_static_picture_only():
    dot = base64.b64encode(stored(Image.new("RGB", (1, 1)))).decode()
    data = {WIDGET: {"model_id": "1"}, "image/png": f"{dot[:9]}\n{dot[9:]}\n"}
    clean = canonicalise(notebook(shown(data, {"image/png": {"alt": "A falling line."}})))
    assert list(clean.cells[1].outputs[0].data) == ["image/png"]
    assert "\n" not in clean.cells[1].outputs[0].data["image/png"]
    assert problems(clean) == []


def test_a_widget_without_a_picture_stays_a_problem():
    assert problems(canonicalise(notebook(shown({WIDGET: {"model_id": "1"}, "text/plain": "Slider()"}))))


def test_a_cell_that_did_not_run_stays_a_problem():
    unrun = notebook()
    unrun.cells[1].execution_count = None
    assert problems(canonicalise(unrun))
