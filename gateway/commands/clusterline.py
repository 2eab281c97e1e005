"""The command line of `simfleet cluster`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from gateway.envoy.compat import LATEST
from gateway.stack.statedir import DEFAULT_NAME, StackDirectory, stack_directory

Detach = Callable[[StackDirectory, list[str], str], int]


def run_cluster(argv: list[str], parser: argparse.ArgumentParser, detach: Detach) -> int:
    """The exit code; `detach` starts the same command in the background."""
    arguments = _with_flags(parser).parse_args(argv)
    directory = stack_directory(arguments.name)
    if arguments.detach:
        return detach(directory, [a for a in argv if a not in {"-d", "--detach"}], "cluster")
    from gateway.commands.cluster import ClusterOptions, cluster  # noqa: PLC0415 - --help must be fast

    options = ClusterOptions(
        directory=directory,
        sources=arguments.sources,
        crds=arguments.crds,
        save=arguments.save.resolve() if arguments.save else None,
        api_port=arguments.api_port,
        ready_fd=arguments.ready_fd,
        epp=arguments.epp,
        envoy=arguments.envoy,
        istio_bugs=arguments.istio_bugs,
        istio_release=arguments.istio_release,
        istiod=arguments.istiod,
    )
    return cluster(options)


def _with_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add = parser.add_argument
    manifests = "objects to begin with: a file, a directory or -; repeatable"
    add("-f", "--filename", action="append", default=[], metavar="FILE|DIR|-", dest="sources", help=manifests)
    add("--name", default=DEFAULT_NAME, help="name of this cluster")
    crds = "CustomResourceDefinitions in place of the stand-ins: a file or directory; repeatable"
    add("--crds", action="append", default=[], metavar="FILE|DIR", help=crds)
    add("--save", type=Path, metavar="DIR", help="keep what is written as YAML, and begin with it")
    add("--api-port", type=_port, metavar="PORT", help="port of the API on 127.0.0.1 (16443, or a free one)")
    add("--envoy", type=Path, metavar="PATH", help="an Envoy binary instead of the packaged one")
    add("--epp", default="auto", metavar="auto|reference|PATH", help="endpoint picker, as of `up`")
    add("--istio-bugs", action="store_true", help="route wrongly where Istio up to 1.31 does")
    release = "whose translation it is without an istiod: 1.28 to 1.31"
    add("--istio-release", default=LATEST, metavar="RELEASE", help=release)
    istiod = "Istio's control plane (ISTIOD_BIN, pilot-discovery on the PATH), or none: our own translation"
    add("--istiod", default="auto", metavar="auto|none|PATH", help=istiod)
    add("-d", "--detach", action="store_true", help="return when the API serves and leave it running")
    add("--ready-fd", type=int, help=argparse.SUPPRESS)  # of --detach
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 1 to 65535, not {text!r}")
    return int(text)
