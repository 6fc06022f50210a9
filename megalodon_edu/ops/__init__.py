"""Pure functions on tensors: every operator with all its faces."""
