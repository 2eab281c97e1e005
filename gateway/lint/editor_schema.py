"""`simfleet schema`: the JSON schema of an EndpointPickerConfig, as the reference picker reads it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from gateway.picker.config import EndpointPickerConfig
from kit.console import show
from kit.schemas import schema_of

NAME = "endpoint-picker-config"


def schema() -> dict[str, Any]:
    """Every release's fields together; what one release reads of them, `simfleet lint` says."""
    return schema_of(NAME, EndpointPickerConfig, "EndpointPickerConfig of GIE's and llm-d's pickers")


def run(argv: Sequence[str]) -> int:
    """Print it; the exit code."""
    parser = argparse.ArgumentParser(
        prog="simfleet schema",
        description="Print a JSON schema for editors; `loadgen schema` has those of scenarios and reports.",
    )
    parser.add_argument("name", nargs="?", choices=(NAME,), default=NAME)
    parser.parse_args(argv)
    show(json.dumps(schema(), indent=1))
    return 0
