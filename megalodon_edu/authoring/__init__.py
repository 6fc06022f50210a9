"""For authors: execute notebooks and store them in canonical form."""
