"""Exercises: one module per chapter with checks that diagnose, hints, and solutions in a folder of their own.

In a notebook:

    from megalodon_edu.exercises import chapter01 as exercises
    exercises.ema.check(ema)
    exercises.ema.hint()
    exercises.ema.solution()

    from megalodon_edu.exercises import quiz
    quiz("01")
"""

from megalodon_edu.exercises.questions import quiz

__all__ = ["quiz"]
