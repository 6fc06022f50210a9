"""`megalodon-edu train`: train a model on text, and score it."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from megalodon_edu.cli import CommandError
from megalodon_edu.cli.devices import add_backend, chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_folder
from megalodon_edu.cli.scoring import evaluate_with_bar
from megalodon_edu.cli.texts import DATA_HELP, texts
from megalodon_edu.data import Document
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import LanguageModel, Megalodon, MegalodonConfig, Transformer, match_transformer
from megalodon_edu.nn.backend import chosen_face
from megalodon_edu.training.checkpoint import MODEL_KINDS, checkpoints, load_checkpoint
from megalodon_edu.training.compilation import choose_compile
from megalodon_edu.training.evaluation import quick_look
from megalodon_edu.training.loop import TrainingResult, train
from megalodon_edu.training.options import COMPILE, PRECISIONS, TrainingOptions
from megalodon_edu.training.precision import choose_precision
from megalodon_edu.training.recipes import RECIPES, recipe
from megalodon_edu.training.windows import RandomWindows, concatenate

HELP = "train a small Megalodon, or the Transformer of the same size, on books"

EPILOG = """\
what happens:
  Each step cuts --batch random windows of --length bytes from the training texts, predicts every byte from those
  before it, and lets AdamW improve the model. The learning rate rises over --warmup steps, then falls along a cosine.
  The run's folder receives
    log.csv          one row a step: loss, learning rate, gradient norm, now and then a quick look at validation
    step-...         the newest checkpoint: every two minutes, every 500 steps, at the end, and when you press Ctrl-C
    validation.json  bits per byte of the whole validation split, at the end (8 bits: nothing learned; lower is better),
                     with what it took: sizes, options, text, seed, device, versions
  Ctrl-C finishes the step, saves and stops; pressed twice it stops at once, and the steps since the last checkpoint are
  taken again by --resume.

time:
  --minutes ends the run on any machine, and the learning rate falls with the clock where the machine is too slow for
  all steps. Without it (--minutes 0) the learning rate depends on the step alone: then a run can be repeated, or
  stopped and resumed, to the last bit on the same machine.

examples:
  megalodon-edu train                                     the preset tiny: under ten minutes on two CPU cores
  megalodon-edu train --model transformer                 the baseline of the same size, on the same windows
  megalodon-edu train --resume                            go on after Ctrl-C
  megalodon-edu train --resume --steps 5000 --minutes 30  go on with a longer plan
  megalodon-edu train --data my_texts/ --out runs/mine    your own .txt files
  megalodon-edu train --set num_layers=4 --set chunk_size=256 --out runs/deeper
"""

ENDINGS = {"steps": "Finished", "time": "The time is up", "interrupt": "Interrupted"}
# What --resume takes from the folder, so that the run goes on as it began.
FIXED = ("preset", "model", "set", "batch", "length", "lr", "warmup", "accumulate", "decay_all", "seed", "precision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train`. Those of the recipe have no default here: it depends on the preset."""
    parser.epilog = EPILOG
    tiny = RECIPES["tiny"]
    what = parser.add_argument_group("what to train")
    what.add_argument("--preset", choices=tuple(RECIPES), help="sizes and recipe; default: tiny (small wants a GPU)")
    what.add_argument("--model", choices=tuple(MODEL_KINDS), help="default: megalodon; transformer is as large")
    what.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="change a size, such as num_layers=4; an unknown name lists them all",
    )
    what.add_argument("--data", help=f"default: library. {DATA_HELP}")
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=Path, help="folder of the run; default: runs/<preset>, runs/<preset>-transformer")
    where.add_argument("--resume", action="store_true", help="go on with the run in --out, as it was begun")
    where.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    where.add_argument("--precision", choices=PRECISIONS, help="default: auto, bfloat16 where the hardware has it")
    where.add_argument("--compile", choices=COMPILE, help="torch.compile the step; default: auto, on a GPU with Triton")
    add_backend(where)
    how = parser.add_argument_group("how (in brackets: the preset tiny)")
    how.add_argument("--steps", type=int, help=f"length of the run, and of the cosine [{tiny.options.steps}]")
    how.add_argument(
        "--minutes", type=float, help=f"limit of time, 0 for none [{(tiny.options.max_seconds or 0) / 60:g}]"
    )
    how.add_argument("--batch", type=int, help=f"windows in a step [{tiny.batch}]")
    how.add_argument("--length", type=int, help=f"bytes in a window; the Transformer's context [{tiny.length}]")
    how.add_argument("--lr", type=float, help=f"peak of the learning rate [{tiny.options.learning_rate}]")
    how.add_argument("--warmup", type=int, help=f"steps of its rise [{tiny.options.warmup_steps}]")
    how.add_argument("--accumulate", type=int, help="split each batch in so many parts, to save memory [1]")
    how.add_argument("--seed", type=int, help="of the initial weights and of the windows [0]")
    how.add_argument(
        "--decay-all",
        action="store_const",
        const=True,
        help="let weight decay act on every parameter, the moving averages too, as the released code does",
    )


def run(args: argparse.Namespace) -> int:
    """Train, then score the whole validation split. Returns 130 after Ctrl-C."""
    with explained():
        device = chosen_device(args.device)
        kind = args.model or "megalodon"
        folder = args.out or Path("runs") / ((args.preset or "tiny") + ("" if kind == "megalodon" else f"-{kind}"))
        require_folder("--out", folder)
        if not args.resume and checkpoints(folder):
            raise CommandError(f"{folder} holds a run already; go on with it by --resume, or choose another --out")
        model, options, sizes = (begun if args.resume else beginning)(args, folder)
        documents, held_out = texts(sizes["source"], "train"), texts(sizes["source"], "validation")
        windows = RandomWindows(concatenate(documents), **sizes)
        introduce(model, windows, len(documents), options, device)
        result = train(
            model.to(device),
            windows,
            options,
            folder,
            validate=lambda model: quick_look(model, held_out),
            resume=args.resume,
        )
        print(f"\n{ENDINGS[result.ended]} at step {result.step}, after {result.seconds / 60:.1f} minutes.")
        print(f"Checkpoint: {result.checkpoint}")
        if result.ended == "interrupt":
            print(f"Go on: megalodon-edu train --resume --out {folder}")
            return 130
        about = {
            "command": args.typed,
            "environment": environment(device),
            "config": model.config.to_dict(),
            "parameters": model.parameter_count(),
            "options": asdict(options),
            "windows": windows.description(),
        }
        return finish(model, held_out, result, folder, about)


def finish(
    model: LanguageModel, held_out: tuple[Document, ...], result: TrainingResult, folder: Path, about: dict[str, Any]
) -> int:
    """Score the whole validation split, save the score with `about` and say it. Ctrl-C leaves the trained model."""
    print("Scoring the whole validation split ...", flush=True)
    try:
        score = evaluate_with_bar(model, held_out)
    except KeyboardInterrupt:
        print(f"\nInterrupted. The model is trained; score it: megalodon-edu evaluate --checkpoint {folder}")
        return 130
    what = {"checkpoint": result.checkpoint.name, "step": result.step, "seconds": result.seconds, "split": "validation"}
    save_json(folder / "validation.json", {**what, **score.to_dict(), **about})
    print(f"Validation, all {score.scored:,} bytes: {score.bits_per_byte:.3f} bits per byte")
    print(f"Write with it: megalodon-edu generate --checkpoint {folder}")
    return 0


def beginning(args: argparse.Namespace, folder: Path) -> tuple[LanguageModel, TrainingOptions, dict[str, Any]]:
    """Return a new model, the options and the windows' sizes that the arguments ask for."""
    preset = args.preset or "tiny"
    chosen = recipe(preset)
    sizes: dict[str, Any] = {
        "source": args.data or "library",
        "batch": chosen.batch if args.batch is None else args.batch,
        "length": chosen.length if args.length is None else args.length,
        "seed": args.seed or 0,
    }
    names = {
        "lr": "learning_rate",
        "warmup": "warmup_steps",
        "accumulate": "accumulate",
        "decay_all": "decay_all",
        "precision": "precision",
    }
    given = {field: getattr(args, name) for name, field in names.items() if getattr(args, name) is not None}
    config = change(MegalodonConfig.preset(preset), args.set or [])
    torch.manual_seed(sizes["seed"])
    model: LanguageModel
    if args.model == "transformer":
        model = Transformer(match_transformer(config, context_size=sizes["length"]), backend=args.backend)
    else:
        model = Megalodon(config, backend=args.backend)
    return model, replace(chosen.options, **given, **duration(args), **compilation(args)), sizes


def begun(args: argparse.Namespace, folder: Path) -> tuple[LanguageModel, TrainingOptions, dict[str, Any]]:
    """Return model, options and windows' sizes of the run in the folder. New may be how long it goes on, and on what.

    Raises CommandError if the arguments ask for another change.
    """
    given = [f"--{name.replace('_', '-')}" for name in FIXED if getattr(args, name) is not None]
    if args.out is None:
        given = [name for name in given if name not in ("--preset", "--model")]  # these two name the folder
    if given:
        raise CommandError(
            f"--resume goes on as the run began, without {', '.join(given)}; start a new run in another --out"
        )
    checkpoint = load_checkpoint(folder, backend=args.backend)
    sizes = {name: checkpoint.state.windows[name] for name in ("source", "batch", "length", "seed")}
    if args.data is not None:
        sizes["source"] = args.data
    return checkpoint.model, replace(checkpoint.state.options, **duration(args), **compilation(args)), sizes


def duration(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that say how long the run is, as far as they were given.

    Raises ValueError for a negative or infinite number of minutes.
    """
    found: dict[str, Any] = {} if args.steps is None else {"steps": args.steps}
    if args.minutes is not None:
        if not 0 <= args.minutes < float("inf"):
            raise ValueError(f"--minutes must be a number of at least 0 (0: no limit), got {args.minutes:g}")
        found["max_seconds"] = 60 * args.minutes if args.minutes else None
    return found


def compilation(args: argparse.Namespace) -> dict[str, Any]:
    """Return the option that says whether the step is compiled, if it was given."""
    return {} if args.compile is None else {"compile": args.compile}


def change(config: MegalodonConfig, assignments: list[str]) -> MegalodonConfig:
    """Return the configuration with NAME=VALUE applied.

    Raises ValueError for an unknown name, or a value that is not of its kind.
    """
    kinds = {name: type(value) for name, value in config.to_dict().items()}
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in kinds:
            raise ValueError(f"--set must be NAME=VALUE with a NAME out of {', '.join(kinds)}; got {assignment!r}")
        try:
            changes[name] = {"true": True, "false": False}[text.lower()] if kinds[name] is bool else kinds[name](text)
        except (KeyError, ValueError) as error:
            kind = "true or false" if kinds[name] is bool else f"of type {kinds[name].__name__}"
            raise ValueError(f"--set {name} must be {kind}, got {text!r}") from error
    return replace(config, **changes)


def introduce(
    model: LanguageModel, windows: RandomWindows, documents: int, options: TrainingOptions, device: torch.device
) -> None:
    """Say what is about to be trained, on what, and how."""
    limit = f" or {options.max_seconds / 60:g} min" if options.max_seconds else ""
    print(f"{type(model).__name__} with {model.parameter_count():,} parameters on {device}.")
    print(choose_precision(options.precision, device)[1])
    print(chosen_face(model.backend, device))
    print(choose_compile(options.compile, device)[1])
    print(f"Text: {documents} documents, {len(windows.tokens):,} bytes ({windows.source}).")
    print(f"Up to {options.steps} steps{limit}, each of {windows.batch} windows of {windows.length} bytes.", flush=True)
