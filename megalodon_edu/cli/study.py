"""`megalodon-edu study`: make the measured runs of a study, and keep them in a folder."""

import argparse
import inspect
import types
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from megalodon_edu.cli.devices import chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_folder

HELP = "make the runs of a study: comparison, ablations and others, with seeds and intervals"
PASSES_ARGUMENTS_ON = OWN_HELP = True

# Each module has `record(folder, device, *, ...)`, whose other arguments become the options of the study.
STUDIES = {
    "comparison": "megalodon_edu.studies.comparison",
    "ablations": "megalodon_edu.studies.ablations",
    "long-context": "megalodon_edu.studies.long_context",
    "streaming": "megalodon_edu.studies.streaming",
    "retrieval": "megalodon_edu.studies.retrieval",
    "band": "megalodon_edu.studies.healthy_band",
}

EPILOG = """\
what happens:
  A study makes its runs one after another, or --jobs at a time, and writes each one's result into --out as soon as it
  is finished. Called again with the same folder, it makes those that are missing: a study can be stopped and taken up.
  Its last act is run.json, with all results, the settings, the device and the versions.
  --help after the NAME lists the options of that study. --quick shows on a CPU, in seconds, that a study works; its
  numbers mean nothing.

examples:
  megalodon-edu study ablations --out runs/ablations --device cuda --jobs 3
  megalodon-edu study ablations --out runs/ablations --seconds 540
  megalodon-edu study comparison --out runs/comparison --quick
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all studies share. A study's own options are read when its name is known."""
    parser.epilog = EPILOG
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="this text, or after a NAME that study's options")
    parser.add_argument("name", metavar="NAME", choices=tuple(STUDIES), help=f"one of {', '.join(STUDIES)}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; what is there is kept")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")


def run(args: argparse.Namespace) -> int:
    """Make the study, with its own options out of args.rest."""
    options = options_of(args.name).parse_args(args.rest)
    with explained():
        require_folder("--out", args.out)
        import_module(STUDIES[args.name]).record(args.out, chosen_device(args.device), **vars(options))
    return 0


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        name = getattr(namespace, "name", None)
        (parser if name is None else options_of(name)).print_help()
        parser.exit()


def options_of(name: str) -> argparse.ArgumentParser:
    """The parser of a study's own options."""
    module = import_module(STUDIES[name])
    parser = argparse.ArgumentParser(
        prog=f"megalodon-edu study {name}",
        usage=f"megalodon-edu study {name} --out FOLDER [--device DEVICE] [options]",
        description=module.__doc__,
        epilog=inspect.getdoc(module.record),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add_options(parser, module.record)
    return parser


def add_options(parser: argparse.ArgumentParser, record: Callable[..., None]) -> None:
    """Add one option for each keyword argument of the function, of its annotated type and with its default."""
    hints = get_type_hints(record)
    for name, parameter in inspect.signature(record).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = parameter.default
        shown = " ".join(map(str, default)) if isinstance(default, tuple | list) else default
        said: dict[str, Any] = {"default": default, "help": f"[{shown}]" if shown not in ("", None) else "[none]"}
        hint = hints[name]
        if isinstance(hint, types.UnionType):
            hint = next(part for part in get_args(hint) if part is not type(None))
        if get_origin(hint) in (Sequence, tuple, list):
            parser.add_argument(_flag(name), nargs="+", type=get_args(hint)[0], **said)
        elif hint is bool:
            parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction, **said)
        else:
            parser.add_argument(_flag(name), type=hint, **said)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
