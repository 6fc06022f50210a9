"""The commands of `megalodon-edu`. A command's module is imported only when that command is asked for.

Such a module holds HELP (one line), add_arguments(parser) and run(args), which returns the exit status.
One that sets PASSES_ARGUMENTS_ON = True finds the arguments it does not know in args.rest; one with OWN_HELP = True
adds --help itself. args.typed is the whole command, for the record.
"""

import argparse
import ast
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from megalodon_edu import __version__

COMMANDS = {
    "lab": "megalodon_edu.cli.lab",
    "test": "megalodon_edu.cli.test",
    "train": "megalodon_edu.cli.train",
    "generate": "megalodon_edu.cli.generate",
    "evaluate": "megalodon_edu.cli.evaluate",
    "export": "megalodon_edu.cli.export",
    "bench": "megalodon_edu.cli.bench",
    "study": "megalodon_edu.cli.study",
    "slides": "megalodon_edu.cli.slides",
    "book": "megalodon_edu.cli.book",
    "grade": "megalodon_edu.cli.grade",
    "release": "megalodon_edu.cli.release",
    "notebooks": "megalodon_edu.cli.notebooks",
    "complete": "megalodon_edu.cli.complete",
}


class CommandError(Exception):
    """A failure that its message explains: the command prints the message without a traceback."""


def available_commands() -> dict[str, str]:
    """Return the one-line help of every command whose module is there, without importing any of them."""
    commands = {}
    for name, module in COMMANDS.items():
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            with open(spec.origin, encoding="utf-8") as file:
                commands[name] = _read_help(ast.parse(file.read()))
    return commands


def _read_help(tree: ast.Module) -> str:
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "HELP":
            return str(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return ""


def _overview(commands: dict[str, str]) -> str:
    lines = [f"  {name:<10} {line}" for name, line in commands.items()]
    return "\n".join(
        [
            f"megalodon-edu {__version__}: build Megalodon, a long-context language model, step by step.",
            "",
            "usage: megalodon-edu COMMAND [--help] ...",
            "",
            *lines,
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = available_commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(commands))
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    name, *rest = arguments
    if name not in commands:
        print(f"megalodon-edu: no command {name!r}; choose one of {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        status = _run(name, rest)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output, such as `head`, has gone
        _forget_output()
        return 141
    except CommandError as error:
        print(f"megalodon-edu {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nmegalodon-edu {name}: interrupted", file=sys.stderr)
        return 130


def _forget_output() -> None:
    """Send what is still to be written nowhere, so that Python's own last flush does not fail too."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _run(name: str, arguments: list[str]) -> int:
    try:
        module = import_module(COMMANDS[name])
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] == "megalodon_edu":
            raise
        raise CommandError(
            f"this Python lacks {missing}; run `make lab` once (Windows: python -m megalodon_edu lab), "
            "then use the Python in .venv"
        ) from error
    parser = argparse.ArgumentParser(
        prog=f"megalodon-edu {name}",
        description=module.HELP,
        allow_abbrev=False,
        add_help=not getattr(module, "OWN_HELP", False),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args, rest = parser.parse_known_args(arguments)
    args.typed = shlex.join(["megalodon-edu", name, *arguments])
    if getattr(module, "PASSES_ARGUMENTS_ON", False):
        args.rest = rest
    elif rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    return int(module.run(args))
