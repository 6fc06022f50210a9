"""What every explorer shares: a widget that computes in the browser, and the same picture computed in Python.

An explorer is one Python file and one JavaScript file. In both, `values` maps the controls to the arrays that are
drawn; a test computes both and compares them. The JavaScript file is put behind `plot.js` (axes, lines, sliders), so
nothing is fetched from a network, and it goes on working when the kernel is gone.
"""

from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Control
from megalodon_edu.plots import style

HERE = Path(__file__).parent
Values = dict[str, np.ndarray]


class Explorer(anywidget.AnyWidget):
    """A widget whose traits are the controls. Subclasses give `script`, `values`, `figure` and `description`.

    Shown in a notebook it carries a picture of its `figure()` beside the live view, for GitHub, PDF and every other
    place where widgets do not run; there, `description()` is the alt text.
    """

    script: ClassVar[str]
    constants = traitlets.Dict(help="what the browser needs to know beyond the controls").tag(sync=True)
    bounds = traitlets.Dict(help="the ends of every slider, the words of every choice").tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "script" in cls.__dict__:  # not in the copies of a class that traitlets makes when it adds a trait
            cls._esm = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("plot.js", cls.script))
            cls._css = (HERE / "explorers.css").read_text(encoding="utf-8")
        super().__init_subclass__(**kwargs)

    def __init__(self, **settings: Any) -> None:
        """Set controls by name. Raises TypeError for an unknown name, ValueError for a value outside its ends."""
        if unknown := sorted(set(settings) - set(self.controls)):
            known = ", ".join(self.controls)
            raise TypeError(f"{type(self).__name__} has no control {', '.join(unknown)}; it has {known}")
        super().__init__(**settings)
        self.bounds = self.controls

    @property
    def controls(self) -> dict[str, list[Any]]:
        """Each control's ends (for a slider) or choices."""
        return {name: trait.ends for name, trait in self.traits().items() if isinstance(trait, Control)}

    def settings(self) -> dict[str, Any]:
        """The controls' present values: `Explorer(**settings)` builds the same explorer again."""
        return {name: getattr(self, name) for name, trait in self.traits().items() if isinstance(trait, Control)}

    def values(self) -> Values:
        """The arrays that are drawn, computed with the package's own operators."""
        raise NotImplementedError(f"{type(self).__name__} must compute its values")

    def figure(self) -> Figure:
        """The picture at the present settings, drawn by matplotlib."""
        raise NotImplementedError(f"{type(self).__name__} must draw its figure")

    def description(self) -> str:
        """The picture in words."""
        raise NotImplementedError(f"{type(self).__name__} must describe its figure")

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        live = super()._repr_mimebundle_(**kwargs)
        data, metadata = live if live is not None else ({}, {})
        picture, picture_metadata = style.image_bundle(self.figure(), self.description())
        return {**data, **picture}, {**metadata, **picture_metadata}
