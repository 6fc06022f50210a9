"""Which lines of a notebook an answer takes along."""

from megalodon_edu.classroom.answers import Notebook, cells


def lines(name, *sources):
    """The first line of every statement that is run; a source that begins with # answer is a tagged cell."""
    notebook = Notebook(cells([(f"own{n}", source, "# answer" in source) for n, source in enumerate(sources)]))
    found = notebook.answer(name)
    return found if not isinstance(found, list) else [_line(statement) for statement in found]


def _line(statement):
    return statement.cell.source.splitlines()[statement.node.lineno - 1].strip()


def test_only_what_the_answer_needs_and_what_that_needs():
    assert lines(
        "f",
        "import math, os\nimport time",
        "slow = time.sleep(9)\nscale = math.pi",
        "def helper(x):\n    slow = 1\n    return x * scale + slow",
        "# answer\nprint('hello')\ndef f(x):\n    return helper(x)\nf(3)",
    ) == ["import math, os", "scale = math.pi", "def helper(x):", "def f(x):"]


def test_the_last_definition_counts_and_the_value_a_name_had_before_the_answer():
    sources = (
        "k = 1",
        "# answer\ndef f():\n    return 1",
        "# answer\ndef f():\n    return k",
        "k = 2",
        "def g():\n    return k",
    )
    assert lines("f", *sources) == ["k = 1", "def f():"]
    assert lines("f", "# answer\ndef f():\n    return late", "late = 3") == ["def f():", "late = 3"]


def test_what_changes_an_object_goes_along():
    assert lines(
        "f",
        "table = {}",
        "table['a'] = 1\nother = {}\nother['a'] = 2",
        "table.update(b=2)\nfor key in 'xy':\n    table[key] = 3",
        "# answer\ndef f():\n    return table",
    ) == ["table = {}", "table['a'] = 1", "table.update(b=2)", "for key in 'xy':", "def f():"]


def test_values_that_are_added_to_keep_their_beginning():
    assert lines("f", "n = 1", "n += 1", "n = n + 1\nn += 2", "# answer\ndef f():\n    return n") == [
        "n = 1", "n += 1", "n = n + 1", "n += 2", "def f():",
    ]  # fmt: skip


def test_decorators_classes_comprehensions_and_stars():
    assert lines(
        "f",
        "from math import *\nimport functools\nbase = 2",
        "class Base:\n    width = base\nclass Part(Base):\n    pass",
        "rows = [base * n for n in range(3)]",
        "# answer\n@functools.cache\ndef f(part=Part):\n    return sqrt(rows[0])",
    ) == ["from math import *", "import functools", "base = 2", "class Base:", "class Part(Base):",
          "rows = [base * n for n in range(3)]", "def f(part=Part):"]  # fmt: skip


def test_a_cell_of_the_lesson_is_no_answer_and_a_new_cell_is():
    lesson = ("c01-12", "def ema(x):\n    return x", False)
    answer = ("c01-63", "def other(x):\n    return x", True)
    own = ("a1b2c3d4", "def ema(x):\n    return 2 * x", False)
    assert Notebook(cells([lesson, answer])).answer("ema") is None
    (found,) = Notebook(cells([lesson, answer, own])).answer("ema")
    assert found.cell.number == 3
    untagged = Notebook(cells([lesson, ("c01-63", "def other(x):\n    return x", False)]))
    assert len(untagged.answer("other")) == 1  # where the tags are lost, every cell may be an answer


def test_magics_are_no_syntax_errors_and_keep_the_lines():
    sources = (
        "%matplotlib inline\n!ls\nimport math\nmath?",
        "%%bash\nls",
        "%%time\nk = 1",
        "# answer\ndef f():\n    return math.pi + k",
    )
    assert lines("f", *sources) == ["import math", "k = 1", "def f():"]


def test_a_broken_cell_stands_in_the_way_of_its_own_answer_only():
    sources = ("def broken(:", "# answer\ndef g(x)\n    return x", "# answer\ndef f():\n    return 1")
    assert lines("f", *sources) == ["def f():"]
    error = lines("g", *sources)
    assert isinstance(error, SyntaxError) and error.lineno == 2
    assert lines("g", *sources, "# answer\ndef g(x):\n    return x") == ["def g(x):"]
    assert lines("missing", *sources) is None
