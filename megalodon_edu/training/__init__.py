"""Training: windows of text, the optimiser, the loop, checkpoints, and the measure, bits per byte."""
