"""Matplotlib figures: every function returns a Figure. `python -m megalodon_edu.plots` rebuilds figures/."""
