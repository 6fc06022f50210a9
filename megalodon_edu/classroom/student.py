"""The process that runs the answers of one notebook. It holds nothing worth stealing and decides nothing.

The grader sends the notebook's cells, asks for the answer to an exercise, and calls it with arguments; what comes back
are values, or an error with its line. Functions among the arguments stay with the grader, and calls to them go there.
"""

import ast
import builtins
import json
import linecache
import os
import sys
import tempfile
import types
from typing import Any

from megalodon_edu.classroom import answers
from megalodon_edu.classroom.confinement import confine, limit_memory, own_size

NOTEBOOK = "notebook"


def main() -> None:
    """Confine this process as argv says, then serve the grader on two file descriptors until it closes them."""
    settings = json.loads(sys.argv[1])
    size = own_size()
    guards = confine(settings["readable"])
    tempfile.tempdir = os.getcwd()  # PyTorch asks for one; Python would look for one that can be written
    from megalodon_edu.classroom.student_calls import Grader  # torch, which starts threads

    grader = Grader(settings["requests"], settings["replies"])
    limit_memory(settings["memory"], size)
    grader.send({"did": "start", "guards": guards._asdict()})
    serve(grader)


def serve(grader: Any) -> None:
    """Do what the grader asks, one message after another."""
    notebook = answers.Notebook([])
    answer: Any = None
    while (message := grader.receive()) is not None:
        do = message["do"]
        if do == "load":
            notebook = answers.Notebook(answers.cells([tuple(cell) for cell in message["cells"]]))
            for cell in notebook.cells:
                lines = cell.source.splitlines(keepends=True)
                linecache.cache[cell.file] = (len(cell.source), None, lines, cell.file)
            grader.send({"did": "load"})
        elif do == "ping":
            grader.send({"did": "ping", "number": message["number"]})
        elif do == "prepare":
            grader.forget()
            answer, reply = prepare(notebook, message["name"], grader)
            grader.send(reply)
        elif do == "call":
            grader.send(grader.attempt(grader.call, answer, message))
        elif do == "kernel":
            grader.send(grader.attempt(grader.prepare_kernel, answer, message))
        elif do == "program":
            grader.send(grader.attempt(grader.run_program, message["program"]))


def prepare(notebook: answers.Notebook, name: str, grader: Any) -> tuple[Any, dict[str, Any]]:
    """Run what the answer needs in a namespace of its own; returns the answer and a message about it."""
    found = notebook.answer(name)
    if found is None:
        return None, {"did": "prepare", "is": "missing"}
    if isinstance(found, SyntaxError):
        return None, {"did": "prepare", "is": "stopped", "error": error_of(found)}
    module = types.ModuleType(NOTEBOOK)
    sys.modules[NOTEBOOK] = module
    vars(module).update(display=lambda *args, **kwargs: None, exit=sys.exit, quit=sys.exit)
    vars(module)["__builtins__"] = builtins
    failed: dict[str, Any] | None = None
    for statement in found:
        try:
            tree = ast.Module([statement.node], [])
            exec(compile(tree, statement.cell.file, "exec", dont_inherit=True), vars(module))
        except BaseException as error:
            failed = failed or error_of(error)
    if name not in vars(module):
        return None, {"did": "prepare", "is": "stopped", "error": failed}
    answer = vars(module)[name]
    return answer, {"did": "prepare", "failed": failed, **grader.describe(answer)}


def error_of(error: BaseException) -> dict[str, Any]:
    """Type and first line of the message of an exception, and the innermost line of the notebook it passed through."""
    line, text = None, ""
    if isinstance(error, SyntaxError) and (error.filename is None or error.filename.startswith("<cell")):
        line, text = error.lineno, (error.text or "").strip()
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith("<cell "):
            line, text = trace.tb_lineno, linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        message = ""
    first = message.strip().partition("\n")[0]
    return {"type": type(error).__name__[:100], "message": first[:1000], "line": line, "text": text[:300]}


def read_exactly(descriptor: int, count: int) -> bytes:
    """So many bytes, or fewer where the other side has closed."""
    pieces = []
    while count > 0 and (piece := os.read(descriptor, min(count, 2**20))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
