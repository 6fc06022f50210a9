"""`megalodon-edu generate`: write text with a trained model."""

import argparse
import codecs
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from megalodon_edu.cli.devices import add_backend, chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import read_file
from megalodon_edu.cli.trained import CHECKPOINT_HELP
from megalodon_edu.data import START, to_tokens
from megalodon_edu.models import (
    LanguageModel,
    Megalodon,
    Transformer,
    generate,
    has_decoder,
    make_decoder,
    megalodon_state_bytes,
    state_bytes,
    transformer_state_bytes,
)
from megalodon_edu.training.trained import load_trained

HELP = "write text with a trained model, byte by byte"

EPILOG = """\
what happens:
  The model reads the prompt, then gives every byte a probability; one is drawn, written, and read in its turn.
  Megalodon does this with a state whose size has a bound, so prompt and --max-tokens may be as large as you like; the
  Transformer's key-value cache grows with every byte. The last line says how much memory the state took.
  Ctrl-C stops, and keeps what has been written. Text goes to standard output, everything else to standard error.

choosing:
  --temperature below 1 makes likely bytes likelier still. 0 always takes the likeliest, which soon repeats itself; 1
  follows the model as it is. The default 0.8 suits small models, whose unlikely bytes are mostly mistakes.
  --top-k 40 draws from the 40 likeliest bytes, --top-p 0.95 from the fewest that hold 95 % of the probability.
  The same seed and settings write the same text on one machine.

examples:
  megalodon-edu generate
  megalodon-edu generate --prompt "CHAPTER I" --max-tokens 2000
  megalodon-edu generate --checkpoint bookworm            no training needed: a model that ships with the course
  megalodon-edu generate --checkpoint librarian           the larger one: it writes better, and slower
  megalodon-edu generate --prompt-file chapter.txt --max-tokens 2000
  megalodon-edu generate --checkpoint runs/tiny-transformer --temperature 0.6 --seed 3
"""


class TextStream:
    """Writes bytes to a text stream as valid UTF-8: a character appears when its last byte has come.

    Bytes that form no character become U+FFFD; a start token, which begins a new text, becomes an empty line.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(self, token: int) -> None:
        """Write what can be written after one more byte."""
        text = self._decoder.decode(b"\n\n" if token == START else bytes([token]))
        if text:
            self._out.write(text)
            self._out.flush()

    def finish(self) -> None:
        """Write what is left of a character cut short, and end the line."""
        self._out.write(self._decoder.decode(b"", final=True) + "\n")
        self._out.flush()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `generate`."""
    parser.epilog = EPILOG
    parser.add_argument("--checkpoint", default="runs/tiny", help=CHECKPOINT_HELP)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="", help="the beginning of the text [nothing: the model begins]")
    prompt.add_argument("--prompt-file", metavar="FILE", help="a file that holds it; - reads standard input")
    parser.add_argument("--max-tokens", type=int, default=500, help="bytes to write [500]")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 or more [0.8]")
    parser.add_argument("--top-k", type=int, help="draw from the k likeliest bytes [all]")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest bytes that hold this probability [1]")
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    """Write to standard output as the bytes come. Returns 130 after Ctrl-C."""
    with explained():
        device = chosen_device(args.device)
        model = load_trained(args.checkpoint, device, args.backend).model
        given = to_tokens(read_prompt(args))
        prompt = torch.from_numpy(np.concatenate([np.array([START], np.uint8), given])).long()
        if isinstance(model, Transformer) and len(prompt) + args.max_tokens > model.config.context_size:
            print(
                f"note: this Transformer was trained on {model.config.context_size} bytes of context; "
                "beyond them its text falls apart",
                file=sys.stderr,
            )
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")  # Windows would take the console's old encoding
        stream = TextStream(sys.stdout)
        for token in given.tolist():
            stream.write(token)
        # A decoder's step does less than a call of the model; --backend reference asks for the model's own loop.
        decoder = make_decoder(model) if has_decoder(model) and args.backend != "reference" else None
        start = time.perf_counter()
        written = generate(
            model,
            prompt,
            args.max_tokens,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            seed=args.seed,
            on_token=stream.write,
            decoder=decoder,
        )
        seconds = time.perf_counter() - start
        stream.finish()
    stopped = "interrupted after " if written.interrupted else ""
    print(f"[{stopped}{len(written.tokens)} bytes in {seconds:.1f} s]", file=sys.stderr)
    print(f"[{memory(model, written.state)}]", file=sys.stderr)
    return 130 if written.interrupted else 0


def read_prompt(args: argparse.Namespace) -> str | bytes:
    """Return the prompt: the argument itself, or the bytes of the file or of standard input."""
    if args.prompt_file is None:
        return str(args.prompt)
    return sys.stdin.buffer.read() if args.prompt_file == "-" else read_file("--prompt-file", Path(args.prompt_file))


def memory(model: LanguageModel, state: Any) -> str:
    """Say how many bytes the state takes, and how many it could come to take."""
    held = f"the state takes {state_bytes(state):,} bytes"
    if isinstance(model, Megalodon):
        most = megalodon_state_bytes(model.config, model.config.chunk_size - 1)
        return f"{held}; it never takes more than {most:,}, however long the text"
    assert isinstance(model, Transformer)
    return f"{held}, a cache that grows by {transformer_state_bytes(model.config, 1):,} with every byte of text"
