"""Which lines of a student's notebook an exercise needs.

The answer is the definition of the exercise's name in a cell tagged "exercise", or in a cell that the student added; of
several the last one counts. With it go only the statements before it that define what it uses, and what those use. So a
chapter's measurements and figures are not run again, and a broken cell that no answer needs does no harm.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

COURSE_CELL = re.compile(r"c\d\d-\d\d+[a-z]?")
MAGIC = re.compile(r"^([ \t]*)[%!].*$|^([ \t]*)[^#\n]*\?[ \t]*$", re.MULTILINE)
CELL_MAGICS = re.compile(r"\A\s*%%(time|timeit|capture)\b.*")


@dataclass(frozen=True)
class Cell:
    """A code cell: its number among all code cells from 1 on, its source, and whether an answer may stand in it."""

    number: int
    source: str
    may_answer: bool

    @property
    def file(self) -> str:
        """The name of the file that tracebacks show for it."""
        return f"<cell {self.number}>"


def cells(found: Sequence[tuple[str, str, bool]]) -> list[Cell]:
    """The cells of (id, source, tagged "exercise"); magics become `pass`, so that line numbers stay."""
    marked = any(tagged for _, _, tagged in found)
    return [
        Cell(number, _without_magics(source), tagged or not (marked and COURSE_CELL.fullmatch(name)))
        for number, (name, source, tagged) in enumerate(found, 1)
    ]


def _without_magics(source: str) -> str:
    if source.lstrip().startswith("%%"):
        if not CELL_MAGICS.match(source):
            return ""  # another language
        source = CELL_MAGICS.sub("", source)
    return MAGIC.sub(lambda found: f"{found[1] or found[2] or ''}pass", source)


@dataclass
class Statement:
    """One statement at the top level of a cell."""

    cell: Cell
    node: ast.stmt
    binds: set[str] = field(default_factory=set)
    now: set[str] = field(default_factory=set)
    """Names that are looked up when the statement runs."""

    later: set[str] = field(default_factory=set)
    """Names that the functions in it look up when they are called."""

    changes: set[str] = field(default_factory=set)
    """Names whose objects it changes: x[0] = 1, x.y = 1, x.append(1)."""

    @property
    def replaces(self) -> bool:
        """Whether what it binds is new, whatever came before."""
        plain = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
        return isinstance(self.node, plain) and not self.changes

    @property
    def is_star(self) -> bool:
        """Whether it is `from module import *`."""
        return isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*"


class Notebook:
    """The statements of a notebook's code cells, in order."""

    def __init__(self, found: Sequence[Cell]) -> None:
        self.cells = list(found)
        self.unreadable: dict[int, SyntaxError] = {}
        self.statements: list[Statement] = []
        for cell in self.cells:
            try:
                self.statements += [_statement(cell, node) for node in ast.parse(cell.source, cell.file).body]
            except SyntaxError as error:
                self.unreadable[cell.number] = error
            except (ValueError, RecursionError, MemoryError) as error:
                self.unreadable[cell.number] = SyntaxError(f"{type(error).__name__}: {error}")

    def answer(self, name: str) -> list[Statement] | SyntaxError | None:
        """What is to be run for the answer of this name, in order; None where the notebook holds none.

        A SyntaxError is what stands in the way of reading the last cell that seems to hold it.
        """
        places = [at for at, found in enumerate(self.statements) if found.cell.may_answer and name in found.binds]
        defines = re.compile(rf"^(async def|def|class)?[ \t]*{re.escape(name)}\b[ \t]*[(:=]", re.MULTILINE)
        broken = [
            cell.number
            for cell in self.cells
            if cell.number in self.unreadable and cell.may_answer and defines.search(cell.source)
        ]
        if broken and (not places or broken[-1] > self.statements[places[-1]].cell.number):
            return self.unreadable[broken[-1]]
        return [self.statements[at] for at in sorted(self._needed(places[-1], name))] if places else None

    def _needed(self, place: int, name: str) -> set[int]:
        number = self.statements[place].cell.number
        end = max(at for at, found in enumerate(self.statements) if found.cell.number == number) + 1
        chosen = {place}
        waiting = [place]
        if not self.statements[place].replaces:
            waiting += self._binding(name, place, end, chosen)
        while waiting:
            at = waiting.pop()
            statement = self.statements[at]
            for used in statement.now | statement.changes:
                waiting += self._binding(used, at, end, chosen)
            for used in statement.later:
                waiting += self._binding(used, end, end, chosen)
        return chosen

    def _binding(self, name: str, before: int, end: int, chosen: set[int]) -> Iterator[int]:
        """The statements that give the name its value before this place, without those that are chosen already."""
        found: list[int] = []
        imported = False
        for at in range(before - 1, -1, -1):
            statement = self.statements[at]
            if name in statement.binds:
                found.append(at)
                if statement.replaces:
                    imported = isinstance(statement.node, ast.Import | ast.ImportFrom)
                    break
        if not found:
            after = range(before, len(self.statements)) if before == end else range(0)
            found = [at for at in after if name in self.statements[at].binds][:1]
        if not found and not hasattr(builtins, name):
            found = [at for at in range(before) if self.statements[at].is_star]
        if found and not imported:
            found += [at for at in range(min(found), before) if name in self.statements[at].changes]
        for at in found:
            if at not in chosen:
                chosen.add(at)
                yield at


def _statement(cell: Cell, node: ast.stmt) -> Statement:
    found = Statement(cell, node)
    table = symtable.symtable(ast.unparse(node), cell.file, "exec")
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            found.binds.add(symbol.get_name())
        if symbol.is_referenced():
            found.now.add(symbol.get_name())
    for child in table.get_children():
        # The body of a class runs at once; so do comprehensions, whose names are looked up like those of functions.
        target = found.now if child.get_type() == "class" or child.get_name().endswith(("comp", "genexpr")) else None
        _globals_of(child, found.later if target is None else target, found.later)
    found.changes = {name for part in ast.walk(node) for name in _changed(part)} if _is_plain(node) else set()
    return found


def _globals_of(table: symtable.SymbolTable, own: set[str], inner: set[str]) -> None:
    own.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced())
    for child in table.get_children():
        _globals_of(child, inner, inner)


def _is_plain(node: ast.stmt) -> bool:
    """Whether what the statement changes is changed now, and not when a function is called."""
    return not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _changed(part: ast.AST) -> Iterator[str]:
    """The name at the root of what this part of a statement changes."""
    if isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store | ast.Del):
        yield from _root(part.value)
    if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call) and isinstance(part.value.func, ast.Attribute):
        yield from _root(part.value.func.value)


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
