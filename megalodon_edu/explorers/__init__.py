"""Interactive explorers: one file each, its JavaScript beside it."""

from megalodon_edu.explorers.ema import EMAExplorer

__all__ = ["EMAExplorer"]
