"""The kernels of chapter 11 on the way to those of the package: short, for reading, forward only, from a zero state."""
