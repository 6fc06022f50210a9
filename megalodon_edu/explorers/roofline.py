"""The roofline: what each rung of the kernel ladder moves and computes, and the least time on a GPU of your choice."""

from functools import cache
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Choice
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.measure.ladder import CEMA_RUNGS, Case, Counted, Device, Ladder, count, recorded
from megalodon_edu.plots import roofline as plots

ON_PAPER = {
    "H100 SXM": Device(3.35e12, 66.9e12, 989.4e12, 132),
    "A100 80GB SXM": Device(2.039e12, 19.5e12, 312e12, 108),
    "RTX 4090": Device(1.008e12, 82.6e12, 165.2e12, 128),
    "L4": Device(0.3e12, 30.3e12, 121e12, 58),
}
"""NVIDIA's data sheets: bytes a second, float32 without tensor cores, dense bfloat16 products, multiprocessors."""

MEASURED = "H100, as measured"
PRECISIONS = {"bfloat16 (2 bytes)": 2, "float32 (4 bytes)": 4}


class RooflineExplorer(Explorer):
    """Every rung of CEMA's ladder at a shape of your choice: bytes, operations, programs, and its place under the roof.

    Controls: `batch`, `length` and `channels` of x, `precision` of its numbers, `modes`, `chunk` (the steps that are
    multiplied at once), `segment` (steps; at most the sequence) and `device`. Recorded times are shown where they were
    taken: at their shapes, and on their card.
    """

    script = "roofline.js"
    device = Choice(MEASURED, [MEASURED, *ON_PAPER])
    batch = Choice(8, (1, 2, 4, 8, 16, 32))
    length = Choice(4096, (1024, 4096, 16_384, 65_536))
    channels = Choice(1024, (64, 256, 1024, 4096))
    precision = Choice("bfloat16 (2 bytes)", list(PRECISIONS))
    modes = Choice(16, (4, 8, 16, 32))
    chunk = Choice(16, (16, 32, 64, 128))
    segment = Choice(256, (256, 1024, 4096, 16_384, 65_536))

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        devices = {MEASURED: _recording().device, **ON_PAPER}
        return {
            "rungs": list(CEMA_RUNGS),
            "devices": {name: device._asdict() for name, device in devices.items()},
            "measured": MEASURED,
            "precisions": PRECISIONS,
            "recorded": [
                {"rung": time.rung, "shape": list(time.shape), "milliseconds": time.milliseconds}
                for time in _recording().times
                if time.operator == "CEMA" and time.rung in CEMA_RUNGS
            ],
        }

    def case(self) -> Case:
        """The present shape."""
        return Case(
            self.batch, self.length, self.channels, PRECISIONS[self.precision], self.modes, self.chunk,
            min(self.segment, self.length),
        )  # fmt: skip

    def gpu(self) -> Device:
        """The present device."""
        return _recording().device if self.device == MEASURED else ON_PAPER[self.device]

    def counted(self) -> dict[str, Counted]:
        """Every rung at the present shape."""
        return {rung: count(rung, self.case()) for rung in CEMA_RUNGS}

    def milliseconds(self) -> dict[str, float]:
        """Recorded times of this very case; empty where there are none."""
        default = Case(*self.case()[:3])
        if self.device != MEASURED or self.case() != default:
            return {}
        return {
            time.rung: time.milliseconds
            for time in _recording().times
            if time.operator == "CEMA" and time.rung in CEMA_RUNGS and time.shape == self.case()[:3]
        }

    def values(self) -> Values:
        """For every rung: megabytes moved and asked for, billions of operations, programs, floor, and recorded time.

        `reach` is the rate in TFLOP/s that the roof allows; a recorded time of 0 says that there is none.
        """
        counted, device, recorded_times = self.counted(), self.gpu(), self.milliseconds()
        floors = {rung: device.floor(one) for rung, one in counted.items()}
        return {
            "moved": np.array([one.moved / 1e6 for one in counted.values()]),
            "asked": np.array([one.asked / 1e6 for one in counted.values()]),
            "operations": np.array([one.operations / 1e9 for one in counted.values()]),
            "programs": np.array([one.programs for one in counted.values()]),
            "each": np.array([one.programs / device.multiprocessors for one in counted.values()]),
            "intensity": np.array([one.intensity for one in counted.values()]),
            "floor": np.array([1e3 * seconds for seconds in floors.values()]),
            "reach": np.array([one.operations / floors[rung] / 1e12 for rung, one in counted.items()]),
            "recorded": np.array([recorded_times.get(rung, 0.0) for rung in CEMA_RUNGS]),
        }

    def figure(self) -> Figure:
        """The roofline with every rung on it."""
        counted = self.counted()
        batch, length, channels = self.case()[:3]
        title = f"{self.device}: x of ({batch}, {length:,}, {channels:,}) in {self.precision}"
        return plots.roofline(self.gpu(), counted, self.milliseconds(), title=title)

    def description(self) -> str:
        """The picture in words."""
        values, device = self.values(), self.gpu()
        lowest = values["floor"].min()
        best = " and ".join(rung for rung, ms in zip(CEMA_RUNGS, values["floor"], strict=True) if ms == lowest)
        limits = ", ".join(
            f"{rung} {floor:.3g} milliseconds by its {device.bound(one)}"
            for (rung, one), floor in zip(self.counted().items(), values["floor"], strict=True)
        )
        return (
            f"A roofline of {self.device} with the six rungs of CEMA's ladder. Least times: {limits}. "
            f"The lowest floor has: {best}."
        )


@cache
def _recording() -> Ladder:
    return recorded()
