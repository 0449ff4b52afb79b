"""`python -m gradscope` is `gradscope`."""

import sys

from gradscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
