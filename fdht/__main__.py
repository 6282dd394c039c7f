"""`python -m fdht` is the command `fdht`."""

import sys

from fdht.cli import main

if __name__ == "__main__":
    sys.exit(main())
