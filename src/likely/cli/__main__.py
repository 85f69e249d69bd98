"""`python -m likely.cli`: the same as the command `likely`."""

import sys

from likely.cli import main

if __name__ == "__main__":
    sys.exit(main())
