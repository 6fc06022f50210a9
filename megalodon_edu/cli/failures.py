"""Errors that a command explains in its message, and so needs no traceback for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from megalodon_edu.cli import CommandError
from megalodon_edu.training.diagnosis import NonFiniteError


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors about arguments, files, memory and training into a CommandError with the same message."""
    try:
        yield
    except BrokenPipeError:  # no failure of ours: `main` ends quietly
        raise
    except OSError as error:
        raise CommandError(_explained(error)) from error
    except (ValueError, NonFiniteError) as error:
        raise CommandError(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not _tells_of_memory(error):
            raise
        raise CommandError(
            f"the memory is full; take a smaller model, shorter texts or, in training, a larger --accumulate ({error})"
        ) from error


def _explained(error: OSError) -> str:
    """The message of our own errors as it is; one of the system's own with the file first and a remedy last."""
    if error.strerror is None:
        return str(error)
    file = f"{error.filename}: " if error.filename else ""
    return f"{file}{error.strerror}; check the path, its permissions and the free space on its disk"


def _tells_of_memory(error: Exception) -> bool:
    # On a CPU PyTorch has no class for it.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
