"""``python -m golf``."""

import sys

from golf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
