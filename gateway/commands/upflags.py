"""The flags of `simfleet up`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.machine.flags import add_manifests, add_repeatable
from gateway.stack.statedir import DEFAULT_NAME


def add_up_flags(parser: argparse.ArgumentParser) -> None:
    """What to run, on what ports, with which picker, and how."""
    add = parser.add_argument
    what = "manifests: a file, a directory (plain or kustomize) or - for standard input; repeatable. "
    add_manifests(parser, "FILE|DIR|-", f"{what}Without it, the packaged preset `lab`")
    add("--name", default=DEFAULT_NAME, help="name of this stack")
    add("--replicas", type=count, help="replicas of every model server, instead of the manifests'")
    _add_gateway_flags(parser)
    _add_picker_flags(parser)
    add(
        "--print-manifests",
        action="store_true",
        help="print the manifests (for `loadgen scenarios NAME --manifests -`) and run nothing",
    )
    add(
        "--hpa-sync-period",
        type=float,
        default=15.0,
        help="seconds between two looks of HorizontalPodAutoscalers (default 15)",
    )
    add(
        "--otlp-endpoint",
        metavar="URL",
        help="send traces of gateway, reference picker and pods to this OTLP/HTTP collector, such as "
        "http://127.0.0.1:4318 (extra otlp)",
    )
    add("--ui", action="store_true", help="serve the live page of this stack on 127.0.0.1 and say where")
    add("--ui-port", type=port, default=0, metavar="PORT", help="its port (any free one)")
    add("-d", "--detach", action="store_true", help="return when the stack is ready and leave it running")
    add("--ready-fd", type=int, help=argparse.SUPPRESS)  # of --detach
    add("--no-live", action="store_true", help="plain lines instead of the live table")


def _add_gateway_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "local port of the first listener, or of the listener with that port; repeatable"
    add_repeatable(parser, "--port", metavar="[LISTENER=]PORT", help=what)
    add("--host", default="127.0.0.1", help="address on which the gateways listen")
    add("--envoy", type=Path, metavar="PATH", help="an Envoy binary instead of the packaged one")
    add(
        "--envoy-concurrency",
        type=count,
        metavar="N",
        help="worker threads of each Envoy (half of the cores, two at most)",
    )
    add(
        "--istio-bugs",
        action="store_true",
        help="route wrongly where that release of Istio does (docs/fidelity.md)",
    )
    add(
        "--istio-release",
        default="1.31",
        metavar="1.28|...|1.31",
        help="translate as this release of Istio does (default 1.31)",
    )


def _add_picker_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--epp",
        default="auto",
        metavar="auto|reference|PATH",
        help="endpoint picker: auto takes $EPP_BIN or `epp` on the PATH, else the reference picker",
    )
    add("--epp-config", type=Path, metavar="FILE", help="EndpointPickerConfig instead of the manifests'")
    what = "Python plugin of the reference picker; repeatable"
    add_repeatable(parser, "--plugin", type=Path, metavar="FILE", help=what)
    add(
        "--decision-log", type=Path, metavar="FILE", help="one JSON line per decision of the reference picker"
    )


def count(text: str) -> int:
    """A number of things; argparse.ArgumentTypeError for what is none."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def port(text: str) -> int:
    """A port, or 0; argparse.ArgumentTypeError for what is none."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 0 for any free one, not {text!r}")
    return int(text)
