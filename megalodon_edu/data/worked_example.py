"""The worked example that every chapter shares: six tokens, and six small numbers to compute with by hand."""

SIX_TOKENS = b"whales"
SIX_VALUES = (4.0, 0.0, 0.0, 2.0, 0.0, 0.0)
