"""The web book: the notebooks as static pages in which the explorers live, without a kernel and without a network.

Jupyter Book reads a folder that is made here from the notebooks as they are stored. Where a notebook shows an explorer,
its page carries the explorer's state and loads its script, the very text that anywidget sends to JupyterLab.
"""

import argparse
import ast
import base64
import contextlib
import copy
import html
import io
import json
import posixpath
import re
import shutil
import subprocess
import symtable
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from PIL import Image

from megalodon_edu import explorers
from megalodon_edu.authoring.notebooks import FIRST_LINES, lead_links, read
from megalodon_edu.exercises import questions
from megalodon_edu.explorers.framework import HERE as EXPLORERS
from megalodon_edu.explorers.framework import Explorer
from megalodon_edu.project import COPIES, launch_links

ALSO = {"docs/kernels.md": "kernels.md"}
"""Pages that are no notebooks: where they lie in the project, and what they are called in the book."""

EXTENSIONS = [
    "myst_nb",
    "sphinx_book_theme",
    "sphinx_external_toc",
    "sphinx_copybutton",
    "megalodon_edu.authoring.katex",
]
"""Those of Jupyter Book that are needed, and ours. One that is left out, for cells run by a server elsewhere, names a
script of another host in every page."""

START = "index"
NO_SCRIPT = "This explorer needs JavaScript."


class BookFailed(Exception):
    """A notebook cannot become a page, or Jupyter Book stopped; the message says where and what to do."""


class Shown(NamedTuple):
    """An explorer that a notebook shows: the cell's place, and the explorer with the settings given there."""

    cell: int
    explorer: Explorer


def build(root: Path, out: Path) -> None:
    """Build the book of the checkout `root` into the folder `out`, which is replaced.

    Raises BookFailed.
    """
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").is_file():
        raise BookFailed(f"{out} holds something else than a book; name another folder or empty it")
    with tempfile.TemporaryDirectory() as temporary:
        source, pages = Path(temporary) / "source", Path(temporary) / "pages"
        stage(root, source)
        _call("-c", "from jupyter_book.cli.main import main; main()", "config", "sphinx", str(source))
        strict = ["-W", "--keep-going", "-q"]
        _call("-m", "sphinx", *strict, "-D", f"extensions={','.join(EXTENSIONS)}", str(source), str(pages))
        shrink_pictures(pages)
        shutil.rmtree(pages / ".doctrees")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(pages, out)


def stage(root: Path, source: Path) -> None:
    """Lay out in `source` what Jupyter Book reads: settings, table of contents, pages, scripts. Raises BookFailed."""
    shutil.copytree(root / "book", source)
    places = {page_name(path): path for path in notebook_files(root)}
    notebooks = {name: read(path) for name, path in places.items()}
    links = {path.relative_to(root).as_posix(): f"{name}.ipynb" for name, path in places.items()} | ALSO
    for place, name in ALSO.items():
        shutil.copy(root / place, source / name)
    (source / "_toc.yml").write_text(json.dumps(contents(list(notebooks))), encoding="utf-8")  # JSON is YAML too
    _write_scripts(source / "static")
    shown = {name: explorers_in(name, notebook) for name, notebook in notebooks.items()}
    (source / "explorers.md").write_text(gallery(notebooks, shown), encoding="utf-8")
    (source / "quiz.md").write_text(quiz_page(notebooks), encoding="utf-8")
    for name, notebook in notebooks.items():
        lead_inside(notebook, places[name].relative_to(root).as_posix(), links)
        page = as_page(name, notebook, shown[name], source / "static" / "pictures")
        nbformat.write(page, source / f"{name}.ipynb")


def notebook_files(root: Path) -> list[Path]:
    """The notebooks of the course, then the copies that other machines ran."""
    return [path for folder in ("", COPIES) for path in sorted((root / "notebooks" / folder).glob("*.ipynb"))]


def page_name(path: Path) -> str:
    """What a notebook is called in the book, where all pages lie in one folder."""
    return f"{COPIES}_{path.stem}" if path.parent.name == COPIES else path.stem


def is_copy(name: str) -> bool:
    """True for the page of a chapter that another machine ran."""
    return name.startswith(f"{COPIES}_")


def contents(names: list[str]) -> dict[str, object]:
    """The table of contents: the start page, the numbered chapters in order, and what is looked up."""
    chapters = [name for name in names if name[0].isdigit()]
    copies = [name for name in names if is_copy(name)]
    if unknown := sorted(set(names) - set(chapters) - set(copies) - {START, "glossary"}):
        raise BookFailed(f"{', '.join(unknown)} has no place in the book; give the notebook a chapter's number")
    more = ["explorers", "quiz", "glossary", *(Path(name).stem for name in ALSO.values()), *copies]
    parts = {"Chapters": chapters, "More": more}
    return {
        "format": "jb-book",
        "root": START,
        "parts": [{"caption": part, "chapters": [_entry(file) for file in files]} for part, files in parts.items()],
    }


def _entry(file: str) -> dict[str, str]:
    """A page in the table of contents: a copy by its chapter's number, any other under its own title."""
    number = file.removeprefix(f"{COPIES}_").partition("_")[0]
    return {"file": file, "title": f"{number} on a GPU"} if is_copy(file) else {"file": file}


def explorers_in(name: str, notebook: NotebookNode) -> list[Shown]:
    """The explorers that a notebook shows: those that a cell makes in its last line.

    Of the notebook, only that line is run and what it needs. Raises BookFailed when that fails, and for an explorer
    that is imported and nowhere shown.
    """
    shown: list[Shown] = []
    imported: set[str] = set()
    before: list[ast.stmt] = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        statements = ast.parse(TransformerManager().transform_cell(cell.source)).body
        for statement in statements:
            if isinstance(statement, ast.ImportFrom) and statement.module == explorers.__name__:
                imported.update(alias.name for alias in statement.names)
        match statements[-1:]:
            case [ast.Expr(ast.Call(ast.Name(called))) as last] if called in explorers.__all__:
                shown.append(Shown(index, _made(f"{name}, cell {index}", before + statements[:-1], last)))
        before += statements
    if lost := sorted(imported - {type(each.explorer).__name__ for each in shown}):
        raise BookFailed(f"{name} imports {', '.join(lost)} and never shows it; end a cell with the explorer")
    return shown


def needed(before: list[ast.stmt], last: ast.stmt) -> list[ast.stmt]:
    """Of the statements before the last one, those that bind a name that it needs, or store into what has that name.

    Directly or through others. A change by a method, as `append` makes it, is not seen.
    """
    called: set[str] = set()
    while True:
        found = _names(last)
        wanted, inside, kept = found.used | found.inside | called, set(called), []
        for statement in reversed(before):
            found = _names(statement)
            if (found.bound | found.stored_into) & wanted:
                kept.append(statement)
                # A loop or a condition may leave what was bound before it: then that is needed too.
                anew = ast.Import | ast.ImportFrom | ast.Assign | ast.FunctionDef | ast.ClassDef
                wanted = (wanted - found.bound if isinstance(statement, anew) else wanted) | found.used
                inside |= found.inside
        if inside == called:
            return kept[::-1]
        called = inside  # a function finds its names when it is called: bindings below it count too


class Names(NamedTuple):
    """What a statement binds, of what it sets parts, what it uses of before, and what functions in it use, as names."""

    bound: set[str]
    stored_into: set[str]
    used: set[str]
    inside: set[str]


def _names(statement: ast.stmt) -> Names:
    table = symtable.symtable(ast.unparse(statement), "notebook", "exec")
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    inside, scopes = set(), table.get_children()
    while scopes:
        scope = scopes.pop()
        inside |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
        scopes += scope.get_children()
    return Names(bound, _stored_into(statement), _used(statement), inside)


def _used(statement: ast.stmt) -> set[str]:
    """The names that a statement takes from before: not those that a loop gives itself, but `x` of `x += 1`."""
    if isinstance(statement, ast.For):
        own = {node.id for node in ast.walk(statement.target) if isinstance(node, ast.Name)}
        body = set[str]().union(*map(_used, [*statement.body, *statement.orelse]))
        return _used(ast.Expr(statement.iter)) | (body - own)
    table = symtable.symtable(ast.unparse(statement), "notebook", "exec")
    added_to = [node.target for node in ast.walk(statement) if isinstance(node, ast.AugAssign)]
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()} | {
        target.id for target in added_to if isinstance(target, ast.Name)
    }


def _stored_into(statement: ast.stmt) -> set[str]:
    """The names `x` of assignments such as `x[0] = 1` and `x.a.b = 1`."""
    names = set()
    for node in ast.walk(statement):
        place: ast.expr | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            place = node
        while isinstance(place, ast.Subscript | ast.Attribute):
            place = place.value
        if isinstance(place, ast.Name):
            names.add(place.id)
    return names


def _made(place: str, before: list[ast.stmt], last: ast.Expr) -> Explorer:
    """The explorer that the last line makes; `place` says in an error where it stands."""
    names: dict[str, Any] = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(ast.Module(needed(before, last), []), place, "exec"), names)
            explorer: Explorer = eval(compile(ast.Expression(last.value), place, "eval"), names)
    except Exception as error:
        raise BookFailed(f"{place}: {ast.unparse(last)} failed outside the notebook with {error!r}") from error
    return explorer


def as_page(name: str, notebook: NotebookNode, shown: list[Shown], pictures: Path) -> NotebookNode:
    """The notebook as the book reads it: living explorers, and how to run it.

    Pictures are stored in `pictures`; of an explorer, that is what browsers without JavaScript show. The lines that
    install the course on a hosted notebook are left out, and on the start page all code is. The search finds chapters,
    not their copies.
    """
    page = copy.deepcopy(notebook)
    for index, explorer in shown:
        cell = page.cells[index]
        stored = next(filter(_holds_picture, cell.outputs), None)
        if stored is None:
            raise BookFailed(f"{name}, cell {index} holds no picture of its explorer; run the notebook and store it")
        if stored.metadata["image/png"]["alt"] != " ".join(explorer.description().split()):
            raise BookFailed(
                f"{name}, cell {index} holds the picture of an explorer with other settings or of another version; "
                "run the notebook and store it, and change nothing by a method that the explorer is made from"
            )
        cell.outputs = [_shown_as(living_html(explorer, picture_html(stored, pictures / f"{name}-{index}.png")))]
    for index, cell in enumerate(page.cells):
        if cell.cell_type == "markdown":
            continue
        cell.source = FIRST_LINES.sub("", cell.source)
        cell.outputs = [
            _shown_as(picture_html(output, pictures / f"{name}-{index}-{place}.png"))
            if _holds_picture(output)
            else output
            for place, output in enumerate(cell.outputs)
        ]
        if name == START:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-input"]
    if is_copy(name):  # the chapter is found already
        page.metadata["nosearch"] = True
    if name == START:
        page.cells.insert(1, nbformat.v4.new_markdown_cell(welcome()))
    if name[0].isdigit():
        page.cells.insert(1, nbformat.v4.new_markdown_cell(_how_to_run(f"{name}.ipynb", bool(shown))))
    return page


def welcome() -> str:
    """What the start page begins with: an explorer that lives. As Markdown."""
    words = "One of Megalodon's memories, to play with right here: drag a pole, or select it and use the arrow keys."
    return "\n".join([words, "", *_raw(living_html(explorers.PolePlaneExplorer(), NO_SCRIPT))])


def picture_html(output: NotebookNode, file: Path) -> str:
    """Store the picture of a cell's output as `file`; the element that shows it, with its words. Raises BookFailed.

    Made here, because MyST-NB takes a picture's size from its output and leaves the words.
    """
    about = output.metadata.get("image/png", {})
    if not about.get("alt"):
        raise BookFailed(f"the picture {file.stem} has no alt text; show it with plots.style.show")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(base64.b64decode(output.data["image/png"]))
    size = "".join(f' {side}="{about[side]}"' for side in ("width", "height") if side in about)
    return f'<img src="_static/pictures/{file.name}" alt="{html.escape(about["alt"])}"{size}>'


def _holds_picture(output: NotebookNode) -> bool:
    return "image/png" in output.get("data", {})


def _shown_as(element: str) -> NotebookNode:
    return nbformat.v4.new_output("display_data", {"text/html": element})


def living_html(explorer: Explorer, otherwise: str) -> str:
    """The place of an explorer in a page: its state, its script, and what stands there where no script runs."""
    name = type(explorer).__name__
    state = {key: getattr(explorer, key) for key in ("constants", "bounds", *explorer.settings())}
    # No "<" in it, so that no text can close the element.
    text = json.dumps(state).replace("<", "\\u003c")
    return (
        f'<div class="living" data-explorer="{name}"><script type="application/json">{text}</script>'
        f'<script src="_static/explorers/{name}.js"></script><noscript>{otherwise}</noscript></div>'
    )


def classic_script(explorer: type[Explorer]) -> str:
    """The explorer's module as a script of the old kind: browsers load no modules into pages opened as files."""
    body, exported = str(explorer._esm).rsplit("export default ", 1)
    name = explorer.__name__
    return f"(window.megalodonExplorers ??= {{}}).{name} = (() => {{\n{body}return {exported.strip()}\n}})();\n"


def gallery(notebooks: Mapping[str, NotebookNode], shown: Mapping[str, list[Shown]]) -> str:
    """The page with every explorer: in the chapters' order, then those that no chapter shows. As Markdown."""
    lines = ["# Explorers", "", "Every explorer of the course. Move the sliders with the mouse or the arrow keys.", ""]
    missing = dict.fromkeys(explorers.__all__)
    for name, found in shown.items():
        for _, explorer in found if name[0].isdigit() else []:
            lines += [_heading(name, notebooks[name]), *_raw(living_html(explorer, NO_SCRIPT))]
            missing.pop(type(explorer).__name__, None)
    if missing:
        lines += ["## Beyond the chapters", ""]
    for name in missing:
        lines += _raw(living_html(getattr(explorers, name)(), NO_SCRIPT))
    return "\n".join(lines)


def quiz_page(notebooks: Mapping[str, NotebookNode]) -> str:
    """The page with every question, chapter by chapter. As Markdown."""
    lines = ["# Quiz", "", "Questions with a reason for every answer, the wrong ones too.", ""]
    for chapter in questions.chapters():
        name = next((name for name in notebooks if name.startswith(f"{chapter}_")), None)
        heading = _heading(name, notebooks[name]) if name else f"## Chapter {chapter}\n"
        lines += [heading, *_raw(questions.Quiz([chapter]).html(level=3))]
    return "\n".join([*lines, *_raw(questions.assets_html())])


def _heading(name: str, notebook: NotebookNode) -> str:
    """A heading with a chapter's title that leads to the chapter."""
    title = re.match(r"# (.*)", notebook.cells[0].source)
    return f"## [{title.group(1) if title else name}]({name}.ipynb)\n"


def _raw(text: str) -> list[str]:
    """HTML that Markdown hands on as it is."""
    return ["``````{raw} html", text, "``````", ""]


def shrink_pictures(pages: Path) -> None:
    """Store every PNG of the pages as WebP instead, without loss: about a third of the bytes."""
    files = list((pages / "_static" / "pictures").glob("*.png"))
    for file in files:
        with Image.open(file) as picture:
            picture.save(file.with_suffix(".webp"), lossless=True, exact=True)
        file.unlink()
    names = "|".join(re.escape(file.name) for file in files)
    for page in pages.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(rf"/({names})\"", lambda match: f'/{match[1][:-4]}.webp"', text), encoding="utf-8")


def _call(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BookFailed(f"Jupyter Book stopped:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def _write_scripts(static: Path) -> None:
    (static / "explorers").mkdir()
    for name in explorers.__all__:
        (static / "explorers" / f"{name}.js").write_text(classic_script(getattr(explorers, name)), encoding="utf-8")
    shutil.copy(EXPLORERS / "explorers.css", static)


def lead_inside(notebook: NotebookNode, place: str, pages: Mapping[str, str]) -> None:
    """Lead the notebook's links to files of the project to the pages made from them.

    place, and the keys of pages: paths in the project. Raises BookFailed for a file that is no page of the book.
    """

    def to_page(link: str) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
        if target not in pages:
            raise BookFailed(f"{place} links to {link}, which is no page of the book")
        return pages[target]

    lead_links(notebook, to_page)


def _how_to_run(notebook: str, living: bool) -> str:
    links = launch_links(notebook)
    elsewhere = f", or use {links}" if links else ""
    here = "The explorer on this page works right here. " if living else ""
    return (
        f"{here}To change and run the cells and to solve the exercises, open `notebooks/{notebook}` in JupyterLab: "
        f"`make lab` in a copy of the course installs and starts it{elsewhere}."
    )


def main() -> int:
    """Build the book; return the exit status."""
    parser = argparse.ArgumentParser(description="build the web book")
    parser.add_argument("root", type=Path, help="the checkout")
    parser.add_argument("out", type=Path, help="the folder to build into")
    args = parser.parse_args()
    try:
        build(args.root, args.out)
    except BookFailed as error:
        print(f"megalodon-edu book: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
