"""The training loop: one step after another, logged, checkpointed, and exactly resumable."""

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from megalodon_edu.models import LanguageModel
from megalodon_edu.models.compilation import compile_loss
from megalodon_edu.training.checkpoint import (
    TrainingState,
    checkpoints,
    load_weights,
    locate,
    read_state,
    restore_optimizer,
    save_checkpoint,
)
from megalodon_edu.training.compilation import choose_compile
from megalodon_edu.training.diagnosis import NonFiniteError, diagnose, first_not_finite
from megalodon_edu.training.gradient import RecordedGradient, accumulate_gradient, require_parts
from megalodon_edu.training.interruption import deferred_interrupt
from megalodon_edu.training.log import LogRow, LogWriter
from megalodon_edu.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.precision import choose_precision
from megalodon_edu.training.windows import RandomWindows, to_device

Ending = Literal["steps", "time", "interrupt"]
LOG_NAME = "log.csv"
# What a resumed run may choose anew: how long it goes on, how often it looks and saves, whether the step is compiled,
# and the name of the text.
CHANGEABLE = ("steps", "max_seconds", "evaluate_every", "checkpoint_steps", "checkpoint_seconds", "compile", "source")


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: after all its steps, at its limit of time, or by Ctrl-C."""

    step: int
    seconds: float
    ended: Ending
    checkpoint: Path


def train(
    model: LanguageModel,
    windows: RandomWindows,
    options: TrainingOptions,
    folder: str | os.PathLike,
    callbacks: Iterable[Callable[[LogRow], None]] = (),
    validate: Callable[[LanguageModel], float] | None = None,
    resume: bool = False,
    progress_bar: bool = True,
) -> TrainingResult:
    """Train the model, in place and on the device it is on, to lower the mean loss of the windows.

    Step s = 0, 1, ... takes the batch windows(s), adds up the gradients of its `accumulate` parts, clips their norm,
    and lets AdamW step with the rate learning_rate(s, progress), progress = s / steps. Randomness inside the model
    (dropout) is seeded by (seed, s). Hence, on one machine, a run that was interrupted and resumed ends with the very
    bits of one that was not, if both are compiled or both are not. (A step compiled for a GPU adds up the embedding's
    gradient in no fixed order: there the last bits may differ.) A limit of time is the exception: the learning rate
    then follows the clock, progress = max(s / steps, seconds / max_seconds), so that it is down when the time is up.

    Every step adds a row to `folder`/log.csv and calls each callback with it. Every `evaluate_every` steps the row also
    holds `validate(model)`, in bits per byte. Ctrl-C ends the run after the current step, with a checkpoint; a second
    Ctrl-C ends it at once.

    Raises FileExistsError if the folder holds a run already and `resume` is False, FileNotFoundError if it holds none
    and `resume` is True, ValueError if that run had another model, text or options, and NonFiniteError if a loss, a
    gradient or a parameter is no longer finite (the last good checkpoint stays).
    """
    folder = Path(folder)
    require_parts(windows.batch, options.accumulate)
    device = next(model.parameters()).device
    gradient = _gradient(model, options, device)
    optimizer = build_optimizer(model, options)
    described = windows.description()
    done, seconds_before, saved = 0, 0.0, None
    if resume:
        saved = locate(folder)
        earlier = read_state(saved)
        _require_same_run(saved, earlier, options, described)
        load_weights(saved, model)
        restore_optimizer(saved, model, optimizer)
        done, seconds_before = earlier.step, earlier.seconds
    elif checkpoints(folder):
        raise FileExistsError(f"folder {folder} holds a run already; resume it or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)

    start = last_save = time.perf_counter()
    first, seconds = done, seconds_before
    with (
        LogWriter(folder / LOG_NAME, done) as log,
        deferred_interrupt() as interrupted,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        tqdm(total=options.steps, initial=done, unit="step", mininterval=0.5, disable=not progress_bar) as bar,
    ):
        ended = _ending(options, done, seconds, interrupted=False)
        batch = to_device(windows(done), device)
        while ended is None:
            spent = seconds / options.max_seconds if options.max_seconds else 0.0
            rate = learning_rate(done, max(done / options.steps, spent), options)
            set_learning_rate(optimizer, rate)
            torch.manual_seed(windows.seed * 1_000_003 + done)
            try:
                mean = gradient(batch)
            except ValueError as error:  # after an update that went too far, an operator may refuse a parameter
                if done == first and first_not_finite(model) is None:
                    raise
                raise diagnose(model, done + 1, f"an operator refused a value ({error})", rate, saved) from error
            length = nn.utils.clip_grad_norm_(model.parameters(), options.clip)
            batch = to_device(windows(done + 1), device)  # while a GPU is still at work
            loss, norm = mean.item(), length.item()  # the host waits here, once a step
            if not (math.isfinite(loss) and math.isfinite(norm)):
                symptom = f"the loss is {loss:.4g} and the gradient's norm {norm:.4g}"
                raise diagnose(model, done + 1, symptom, rate, saved)
            optimizer.step()
            done += 1
            score = validate(model) if validate is not None and done % options.evaluate_every == 0 else None
            now = time.perf_counter()
            seconds = seconds_before + now - start
            row = LogRow(done, done * windows.batch * windows.length, seconds, loss, rate, norm, score)
            log.append(row)
            for callback in callbacks:
                callback(row)
            bar.set_postfix_str(f"{loss / math.log(2):.3f} bits per byte", refresh=False)
            bar.update()
            ended = _ending(options, done, seconds, interrupted())
            if ended or done % options.checkpoint_steps == 0 or now - last_save >= options.checkpoint_seconds:
                if culprit := first_not_finite(model):
                    raise NonFiniteError(
                        f"After step {done} {culprit} is not finite. The last good checkpoint: {saved}."
                    )
                saved = save_checkpoint(folder, model, optimizer, TrainingState(done, seconds, options, described))
                last_save = time.perf_counter()
    assert saved is not None  # the last step of a run saves, and a resumed run starts from a checkpoint
    return TrainingResult(done, seconds, ended, saved)


def _gradient(model: LanguageModel, options: TrainingOptions, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What leaves a batch's gradient in the parameters and returns its loss: compiled and recorded where that pays.

    The loss alone is compiled: the model keeps its names, and looks at pieces of any length run as they are.
    """
    dtype, _ = choose_precision(options.precision, device)
    compiled, _ = choose_compile(options.compile, device)
    loss_of = compile_loss(model.loss) if compiled else model.loss
    if compiled and device.type == "cuda":
        return RecordedGradient(model, options.accumulate, dtype, loss_of)
    return lambda batch: accumulate_gradient(model, batch, options.accumulate, dtype, loss_of)


def _ending(options: TrainingOptions, done: int, seconds: float, interrupted: bool) -> Ending | None:
    """Say why the run is to end here, if it is. Ctrl-C counts first: whoever pressed it wants no work after it."""
    if interrupted:
        return "interrupt"
    if done >= options.steps:
        return "steps"
    if options.max_seconds is not None and seconds >= options.max_seconds:
        return "time"
    return None


def _require_same_run(path: Path, earlier: TrainingState, options: TrainingOptions, windows: dict[str, Any]) -> None:
    """Raise ValueError if going on from `earlier` with these options or windows would be another run."""
    for what, before, now in (
        ("windows", earlier.windows, windows),
        ("options", asdict(earlier.options), asdict(options)),
    ):
        for name in now:
            if name not in CHANGEABLE and before.get(name) != now[name]:
                raise ValueError(
                    f"{what}.{name} was {before.get(name)!r} when {path} was written, got {now[name]!r}; "
                    "keep it, or start a new run in another folder"
                )
