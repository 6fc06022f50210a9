"""Slides as one HTML file that needs nothing else: no network, no library, no other file."""

import html
from collections.abc import Sequence
from pathlib import Path

from megalodon_edu.authoring.slides import Slide

HERE = Path(__file__).parent


def page(slides: Sequence[Slide]) -> str:
    """The page. Its title is that of the first slide; keys are explained on the page itself."""
    if not slides:
        raise ValueError("slides must hold at least one slide, got none")
    css, script = ((HERE / name).read_text(encoding="utf-8") for name in ("slides.css", "slides.js"))
    shown = "\n".join(_section(slide, number, len(slides)) for number, slide in enumerate(slides, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(slides[0].title)}</title>
<style>{css}</style>
</head>
<body>
<main id="stage">
{shown}
</main>
{CONTROLS}
<script>{script}</script>
</body>
</html>
"""


def _section(slide: Slide, number: int, count: int) -> str:
    kind = slide.kind if slide.body else "statement"
    title = html.escape(slide.title)
    head = f'<p class="section">{html.escape(slide.section)}</p>' if slide.section not in ("", slide.title) else ""
    tag = "h1" if kind == "title" else "h2"
    notes = "".join(slide.notes)
    return (
        f'<section class="slide {kind}" aria-roledescription="slide" aria-label="{number} of {count}: {title}" '
        f'data-section="{html.escape(slide.section)}"><header>{head}<{tag}>{title}</{tag}></header>'
        f'<div class="content">{"".join(slide.body)}</div>'
        f'<aside class="notes" hidden>{notes}</aside><p class="number" aria-hidden="true">{number}</p></section>'
    )


CONTROLS = """<nav id="controls" aria-label="Slides">
<button type="button" data-key="ArrowLeft" aria-label="Previous slide">◀</button>
<button type="button" data-key="ArrowRight" aria-label="Next slide">▶</button>
<button type="button" data-key="?" aria-label="Keys">?</button>
</nav>
<dialog id="keys" aria-label="Keys"><h2>Keys</h2>
<dl><dt>→ ↓ Space PageDown</dt><dd>next slide</dd><dt>← ↑ PageUp</dt><dd>previous slide</dd>
<dt>Home, End</dt><dd>first, last</dd><dt>c</dt><dd>contents</dd>
<dt>s</dt><dd>speaker's window: notes, next slide, time</dd>
<dt>n</dt><dd>notes on this screen</dd><dt>d</dt><dd>dark or light</dd><dt>f</dt><dd>full screen</dd>
<dt>b</dt><dd>blank</dd><dt>?</dt><dd>these keys</dd></dl>
<p>Print, or save as PDF, with the browser: a slide is a page.</p><form method="dialog"><button>Close</button></form>
</dialog>
<dialog id="contents" aria-label="Contents"><h2>Contents</h2><ol></ol>
<form method="dialog"><button>Close</button></form></dialog>
<div id="blank" hidden></div>
<p id="told" role="status"></p>"""
