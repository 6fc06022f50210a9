"""`python -m megalodon_edu`: the same commands as `megalodon-edu`, also before anything is installed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older Python starts this file too, and is told what is missing
    sys.exit("megalodon-edu needs Python 3.11 or newer, and this is Python {}.{}.".format(*sys.version_info[:2]))

from megalodon_edu.cli import main

sys.exit(main())
