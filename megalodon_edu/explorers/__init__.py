"""Interactive explorers: one file each, its JavaScript beside it."""

from megalodon_edu.explorers.calculator import MemoryCalculatorExplorer
from megalodon_edu.explorers.complex_ema import PolePlaneExplorer
from megalodon_edu.explorers.damped_ema import DecayMixExplorer
from megalodon_edu.explorers.ema import EMAExplorer
from megalodon_edu.explorers.memory_wall import MemoryWallExplorer
from megalodon_edu.explorers.normalized_attention import NormalizedAttentionExplorer
from megalodon_edu.explorers.receptive_field import ReceptiveFieldExplorer
from megalodon_edu.explorers.residuals import ResidualExplorer
from megalodon_edu.explorers.roofline import RooflineExplorer
from megalodon_edu.explorers.run_browser import RunBrowserExplorer
from megalodon_edu.explorers.streaming_state import StreamingStateExplorer
from megalodon_edu.explorers.tile_stepper import TileStepperExplorer
from megalodon_edu.explorers.timestep_norm import TimestepNormExplorer

__all__ = [
    "DecayMixExplorer",
    "EMAExplorer",
    "MemoryCalculatorExplorer",
    "MemoryWallExplorer",
    "NormalizedAttentionExplorer",
    "PolePlaneExplorer",
    "ReceptiveFieldExplorer",
    "ResidualExplorer",
    "RooflineExplorer",
    "RunBrowserExplorer",
    "StreamingStateExplorer",
    "TileStepperExplorer",
    "TimestepNormExplorer",
]
