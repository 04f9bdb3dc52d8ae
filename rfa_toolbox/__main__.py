"""``python -m rfa_toolbox`` is the command line ``rfa``."""

from __future__ import annotations

import sys

from rfa_toolbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
