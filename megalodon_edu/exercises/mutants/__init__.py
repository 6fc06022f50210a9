"""Plausible wrong answers, one module per chapter: the tests prove that each is caught with its own message."""
