"""`python -m tlkit`: the command line, where the script `tlkit` is not on the path."""

import sys

from tlkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
