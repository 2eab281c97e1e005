"""`loadgen report DIR`: the report of a finished (or broken off) run once more."""

import argparse
from pathlib import Path

from loadgen.report.verdict import finish


def run_report(args: argparse.Namespace) -> int:
    """Rebuild every form from the records; the exit code is the run's own."""
    return finish(Path(args.dir))
