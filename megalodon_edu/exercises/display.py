"""How a verdict, a hint and a solution look in a notebook: plain HTML that follows light and dark themes."""

import html
import re

COLOURS = {"Yes": "#009E73", "Not yet": "#E69F00", "Look again": "#D55E00"}


def sentence_html(opening: str, message: str) -> str:
    """A verdict: its opening word in bold behind a coloured bar, `code` marked as such."""
    style = f"border-left: 4px solid {COLOURS[opening]}; padding: 2px 0 2px 10px"
    return f'<div style="{style}"><strong>{opening}:</strong> {inline_html(message)}</div>'


def folded_html(title: str, text: str, code: bool) -> str:
    """A title that unfolds on a click or with the Enter key."""
    body = f"<pre>{html.escape(text)}</pre>" if code else f"<p>{inline_html(text)}</p>"
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def inline_html(text: str) -> str:
    """Plain text as HTML, `code` marked as such."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
