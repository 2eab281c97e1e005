"""Imported by every bench before the rooms, so that `python bench/x.py` is `python -m bench.x`.

A script's folder comes first on sys.path, where gateway.py would be taken for the room of that name.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT), *(p for p in sys.path if Path(p).resolve() not in (ROOT, ROOT / "bench"))]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a bench, whose docstring is its help."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
