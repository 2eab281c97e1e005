"""`python -m simulator` is `simfleet` with the simulator's commands."""

from __future__ import annotations

import sys

from simulator.cli import main

sys.exit(main(sys.argv[1:]))
