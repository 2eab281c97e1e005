"""python -m gateway.picker"""

from __future__ import annotations

import sys

from gateway.picker.cli import main

if __name__ == "__main__":
    sys.exit(main())
