"""A meter in a notebook that shows, while a model writes, its text and the bytes it keeps."""

import html
from collections.abc import Mapping
from typing import Any

from megalodon_edu.arguments import require_positive
from megalodon_edu.plots import style

COLORS = (style.MEGALODON, style.TRANSFORMER)
SHOWN = 400  # the end of a long text


class StateMeter:
    """One place in a notebook that is replaced at every call, and stays as the last call left it.

        meter = StateMeter(full=20_000_000)
        meter(text, {"Megalodon: state": 5_000_000, "Transformer: KV cache": 12_000_000})

    `full` is the number of bytes at which a bar fills the width; a larger one fills it too.
    """

    def __init__(self, full: int):
        """Raise ValueError unless `full` is at least 1."""
        require_positive("full", full)
        self.full = full
        self._handle: Any = None

    def __call__(self, text: str, sizes: Mapping[str, int]) -> None:
        """Show the end of the text and a bar for each number of bytes."""
        from IPython.display import display

        bundle = {"text/html": self.html(text, sizes), "text/plain": self.words(text, sizes)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def words(self, text: str, sizes: Mapping[str, int]) -> str:
        """The meter without a picture."""
        lines = [f"{name:24} {size:12,} bytes" for name, size in sizes.items()]
        return "\n".join([text[-SHOWN:], "", *lines])

    def html(self, text: str, sizes: Mapping[str, int]) -> str:
        """The meter as HTML: only inline styles, no script, so that it stays in a saved notebook."""
        bars = []
        for (name, size), color in zip(sizes.items(), COLORS, strict=False):
            share = 100 * min(1.0, size / self.full)
            bars.append(
                f'<div style="display:flex;align-items:center;gap:8px;margin:3px 0">'
                f'<span style="flex:0 0 12em">{html.escape(name)}</span>'
                f'<span style="flex:1;background:rgba(128,128,128,0.2)">'
                f'<span style="display:block;height:14px;width:{share:.1f}%;background:{color}"></span></span>'
                f'<span style="flex:0 0 9em;text-align:right">{size:,} bytes</span></div>'
            )
        end = html.escape(text[-SHOWN:])
        written = f'<pre style="white-space:pre-wrap;min-height:11em;margin:0 0 8px">{end}</pre>'
        return f'<div style="max-width:46em">{written}{"".join(bars)}</div>'
