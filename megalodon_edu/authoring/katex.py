"""A Sphinx extension: equations stay TeX in the page, and KaTeX, which the book brings along, sets them there."""

import html
from typing import Any

from docutils.nodes import SkipNode
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer `katex` for html_math_renderer."""
    app.add_html_math_renderer("katex", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _visit_inline(translator: Any, node: Any) -> None:
    translator.body.append(f'<span class="tex">{html.escape(node.astext(), quote=False)}</span>')
    raise SkipNode


def _visit_block(translator: Any, node: Any) -> None:
    translator.body.append(f'<div class="tex">{html.escape(node.astext(), quote=False)}</div>')
    raise SkipNode
