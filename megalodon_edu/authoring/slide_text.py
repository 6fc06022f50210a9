"""Markdown of the notebooks as HTML for a slide: equations as MathML, which browsers draw without any library."""

import html
import re
from dataclasses import dataclass

import mistune
from latex2mathml.converter import convert
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

SENTENCE_END = re.compile(r"(?<=[.?!\x02])\s+")
KEPT_WHOLE = re.compile(r"\$[^$]+\$|`[^`]*`|\*\*.+?\*\*|\[[^\]]*\]\([^)]*\)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A piece of Markdown between blank lines: heading, math, table, list, details or paragraph."""

    kind: str
    source: str


def blocks(source: str) -> list[Block]:
    """The blocks of a Markdown cell, in order. What is between <details> and </details> is one block."""
    found: list[Block] = []
    inside, held = False, []
    for part in re.split(r"\n\s*\n", source.strip()):
        held.append(part)
        inside = "</details>" not in part and (inside or part.startswith("<details"))
        if not inside:
            text = "\n\n".join(held)
            found.append(Block(_kind(text), text))
            held = []
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph. Equations, code, bold words and links are never cut."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match.group())
        ends = "\x02" if re.search(r'[.?!]["”]?\*\*$', match.group()) else ""
        return f"\x00{len(kept) - 1}\x01{ends}"

    hidden = KEPT_WHOLE.sub(hide, " ".join(text.split()))
    parts = [part.replace("\x02", "") for part in SENTENCE_END.split(hidden)]
    return [re.sub("\x00(\\d+)\x01", lambda match: kept[int(match.group(1))], part) for part in parts if part]


def lead(text: str, longest: int = 200) -> str:
    """What a room can read of a paragraph: all of it if it is short, else its bold sentences, else its first ones."""
    if len(plain(text)) <= longest:
        return text
    first, *others = sentences(text)
    bold = " ".join(part for part in (first, *others) if "**" in part)
    if bold and len(plain(bold)) <= 1.5 * longest:
        return bold
    for part in others:
        if len(plain(f"{first} {part}")) > longest:
            break
        first = f"{first} {part}"
    return first


def plain(text: str) -> str:
    """The text without Markdown's signs, for titles and for counting letters."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$([^$]*)\$", lambda match: re.sub(r"\\[a-zA-Z]+|[{}\\]", "", match.group(1)), text)
    return re.sub(r"<[^>]+>", "", text).replace("**", "").replace("`", "").replace("*", "")


def to_html(source: str) -> str:
    """A block as HTML. Links keep their words and lose their targets: a room cannot click."""
    unlinked = re.sub(r"(?<!!)\[([^\]]*)\]\([^)]*\)", r"\1", source)
    return str(_markdown(unlinked)).strip()


def inline_to_html(source: str) -> str:
    """A line of Markdown as HTML, without the paragraph around it."""
    return re.sub(r"^<p>(.*)</p>$", r"\1", to_html(source), flags=re.DOTALL)


def code_html(source: str) -> str:
    """Python with its words marked by class."""
    return (
        f'<pre class="code"><code>{highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip()}</code></pre>'
    )


def output_html(text: str) -> str:
    """Printed text as it was printed."""
    return f'<pre class="output">{html.escape(text.rstrip())}</pre>'


def _kind(text: str) -> str:
    starts = {"#": "heading", "$$": "math", "|": "table", "- ": "list", "<details": "details", "1. ": "list"}
    return next((kind for start, kind in starts.items() if text.startswith(start)), "paragraph")


def _math(source: str, display: str) -> str:
    # The converter knows \Bigl| and not \Bigl\lvert.
    source = re.sub(
        r"(\\[Bb]ig+[lr]?)\\([lr])(v|V)ert", lambda m: m.group(1) + ("|" if m.group(3) == "v" else r"\|"), source
    )
    return convert(source, display=display)


def _build() -> mistune.Markdown:
    renderer = mistune.HTMLRenderer(escape=False)
    markdown = mistune.create_markdown(renderer=renderer, plugins=["math", "table"])
    renderer.register("inline_math", lambda _, source: _math(source, "inline"))
    renderer.register("block_math", lambda _, source: f'<div class="equation">{_math(source, "block")}</div>')
    return markdown


_markdown = _build()
