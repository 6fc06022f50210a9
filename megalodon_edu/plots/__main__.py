"""`python -m megalodon_edu.plots [folder]` draws every figure that is kept as a file (into figures/ unless told)."""

import argparse
from pathlib import Path

from megalodon_edu.plots import gallery


def main() -> None:
    """Rebuild the figures and say which."""
    parser = argparse.ArgumentParser(prog="python -m megalodon_edu.plots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("figures"), help="default: figures")
    for path in gallery.rebuild(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
