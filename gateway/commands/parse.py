"""The commands of `simfleet` that deal with stacks, and the way to lint and doctor.

`run(name, argv)` parses, acts and returns the exit code: 0, 1 when it failed, 2 for what cannot be asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.commands.upflags import add_up_flags, count
from gateway.errors import GatewayError, UsageError
from gateway.machine.flags import Parser
from gateway.stack.socket import ask
from gateway.stack.statedir import StackDirectory, find_stack, running_stacks, stack_directory
from kit.children import python
from kit.console import complain, say

CHANGE_TIMEOUT_S = 120.0


def run(name: str, argv: Sequence[str]) -> int:
    """Run `simfleet NAME ARGV`; the exit code."""
    if name in {"lint", "doctor"}:
        return _delegate(name, argv)
    try:
        return _COMMANDS[name](list(argv))
    except GatewayError as error:
        complain(f"simfleet {name}: {error}")
        return error.exit_code


def _delegate(name: str, argv: Sequence[str]) -> int:
    if name == "lint":
        from gateway import lint  # noqa: PLC0415

        return lint.run(list(argv))
    from gateway import doctor  # noqa: PLC0415

    return doctor.run(list(argv))


def _parser(name: str, description: str, *, stack: bool = True) -> Parser:
    parser = Parser(prog=f"simfleet {name}", description=description)
    if stack:
        help_ = "the stack to act on ($SIMFLEET_STACK); not needed while only one runs"
        parser.add_argument("--name", dest="stack", help=help_)
    return parser


# up


def _up(argv: list[str]) -> int:
    parser = _parser("up", "Run the manifests of an inference gateway on this machine.", stack=False)
    add_up_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.print_manifests:
        from gateway.commands.up import print_manifests  # noqa: PLC0415

        return print_manifests(arguments.sources, arguments.namespace)
    directory = stack_directory(arguments.name)
    if arguments.detach:
        return _detach(directory, [a for a in argv if a not in {"-d", "--detach"}])
    from gateway.commands.up import UpOptions, up  # noqa: PLC0415
    from gateway.envoy.compat import istio  # noqa: PLC0415
    from gateway.envoy.process import GatewayOptions  # noqa: PLC0415 - --help must be fast
    from gateway.envoy.tracing import collector  # noqa: PLC0415
    from gateway.machine.ports import reserve  # noqa: PLC0415
    from gateway.stack.pickers.process import PickerOptions  # noqa: PLC0415

    if not 0.1 <= arguments.hpa_sync_period <= 3600:
        raise UsageError(f"--hpa-sync-period {arguments.hpa_sync_period:g}: must be 0.1 to 3600 seconds")
    ports, first = _parse_ports(arguments.port)
    reserve(port for port in (*ports.values(), first) if port is not None)
    traces = collector(arguments.otlp_endpoint) if arguments.otlp_endpoint else None
    picker = PickerOptions(
        arguments.epp,
        _absolute(arguments.epp_config),
        _absolute(arguments.decision_log),
        tuple(path.resolve() for path in arguments.plugin),
        traces.traces if traces else None,
    )
    gateway = GatewayOptions(
        arguments.envoy,
        arguments.host,
        ports,
        first,
        arguments.envoy_concurrency,
        arguments.istio_bugs,
        istio(arguments.istio_release).name,
        collector=traces,
    )
    live = sys.stdout.isatty() and not arguments.no_live and arguments.ready_fd is None
    options = UpOptions(
        directory=directory,
        sources=arguments.sources,
        namespace=arguments.namespace,
        replicas=arguments.replicas,
        picker=picker,
        gateway=gateway,
        hpa_sync_period=arguments.hpa_sync_period,
        live=live,
        ui_port=arguments.ui_port if arguments.ui or arguments.ui_port else None,
        ready_fd=arguments.ready_fd,
    )
    return up(options)


def _absolute(path: Path | None) -> Path | None:
    return path.resolve() if path else None


def _parse_ports(texts: Sequence[str]) -> tuple[dict[int, int], int | None]:
    ports, first = {}, None
    for text in texts:
        listener, equals, local = text.rpartition("=")
        if not local.isdigit() or (equals and not listener.isdigit()) or not 1 <= int(local) <= 65535:
            raise UsageError(f"--port {text}: must be PORT or LISTENER=PORT")
        if equals:
            ports[int(listener)] = int(local)
        else:
            first = int(local)
    return ports, first


def _detach(directory: StackDirectory, argv: list[str], name: str = "up") -> int:
    """Start the command in a session of its own, which prints here until it is ready."""
    if directory.is_held():
        raise directory.taken()
    read_end, write_end = os.pipe()
    code = f"import sys; from gateway.commands.parse import run; sys.exit(run({name!r}, sys.argv[1:]))"
    command = python("-c", code, *argv, "--ready-fd", str(write_end))
    pipes = [int(number) for number in re.findall(r"(?:^|=)/dev/fd/(\d+)$", "\n".join(argv), re.MULTILINE)]
    child = subprocess.Popen(command, start_new_session=True, pass_fds=(write_end, *pipes))
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as notice:
            if not notice.read(1):  # it ended before it was ready, and said why
                return child.wait()
    except KeyboardInterrupt:  # the child has a session of its own: Ctrl-C reaches only us
        child.terminate()
        child.wait()
        raise
    say(f"runs in the background; simfleet ps, logs, down --name {directory.name}")
    return 0


def _cluster(argv: list[str]) -> int:
    from gateway.commands.clusterline import run_cluster  # noqa: PLC0415

    about = "A Kubernetes API on loopback for kubectl; what is written to it runs."
    return run_cluster(argv, _parser("cluster", about, stack=False), _detach)


# what a running stack is asked


def _ps(argv: list[str]) -> int:
    from gateway.commands import ps  # noqa: PLC0415

    parser = _parser("ps", "Show what runs.")
    ps.add_flags(parser)
    return ps.ps(parser.parse_args(argv))


def _scale(argv: list[str]) -> int:
    parser = _parser("scale", "Change the number of pods of a pool or Deployment.")
    parser.add_argument("pool")
    parser.add_argument("replicas", type=count)
    arguments = parser.parse_args(argv)
    return _change(arguments.stack, "scale", target=arguments.pool, replicas=arguments.replicas)


def _kill(argv: list[str]) -> int:
    parser = _parser("kill", "End a pod or a picker at once, as a crash would.")
    parser.add_argument("pod", help="name of a pod or picker; the end of a pod's name is enough")
    parser.add_argument("--after-tokens", type=count, metavar="N", help="only when it has generated N more")
    arguments = parser.parse_args(argv)
    return _change(arguments.stack, "kill", name=arguments.pod, after_tokens=arguments.after_tokens)


def _restart(argv: list[str]) -> int:
    parser = _parser("restart", "Start a pod with an empty cache, or a picker anew.")
    parser.add_argument("pod", help="name of a pod or picker")
    arguments = parser.parse_args(argv)
    return _change(arguments.stack, "restart", name=arguments.pod)


def _drain(argv: list[str]) -> int:
    parser = _parser("drain", "Take a pod out of the endpoints, let it finish what it has, close it.")
    parser.add_argument("pod")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="cut off after that")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.grace < float("inf"):
        raise UsageError(f"--grace must be 0 seconds or more, not {arguments.grace:g}")
    timeout_s = arguments.grace + CHANGE_TIMEOUT_S
    return _change(arguments.stack, "drain", timeout_s=timeout_s, name=arguments.pod, grace_s=arguments.grace)


def _change(stack: str | None, do: str, *, timeout_s: float = CHANGE_TIMEOUT_S, **arguments: Any) -> int:
    directory = find_stack(stack)
    say(ask(directory.socket, do, timeout_s=timeout_s, **arguments))
    return 0


def _apply(argv: list[str]) -> int:
    from gateway.commands.apply import run_apply  # noqa: PLC0415

    about = "Change a running stack to these objects; says what changed, line by line."
    return run_apply(argv, _parser("apply", about))


def _why(argv: list[str]) -> int:
    from gateway.commands import why  # noqa: PLC0415

    parser = _parser("why", "Why a request went where it went, by the picker's decision log.")
    why.add_why(parser)
    return why.why(parser.parse_args(argv))


def _whatif(argv: list[str]) -> int:
    from gateway.commands import why  # noqa: PLC0415

    parser = _parser("whatif", "Where other weights would have sent the last requests.")
    why.add_whatif(parser)
    return why.whatif(parser.parse_args(argv))


def _ui(argv: list[str]) -> int:
    from gateway.commands import ui  # noqa: PLC0415

    parser = _parser("ui", "Serve the live page of a running stack on 127.0.0.1.")
    ui.add_flags(parser)
    return ui.ui(parser.parse_args(argv))


def _down(argv: list[str]) -> int:
    parser = _parser("down", "End a stack in order and remove what it left.")
    parser.add_argument("--all", action="store_true", help="every stack that runs")
    arguments = parser.parse_args(argv)
    from gateway.commands.down import end  # noqa: PLC0415

    stacks = list(running_stacks()) if arguments.all else [find_stack(arguments.stack)]
    for directory in stacks:
        end(directory)
        say(f"{directory.name} is down")
    return 0


def _logs(argv: list[str]) -> int:
    from gateway.commands.logs import logs  # noqa: PLC0415

    parser = _parser("logs", "Show the logs of a stack.")
    parser.add_argument("what", nargs="?", help="up, access, a picker's pod or a gateway; default: all")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("-n", "--lines", type=count, default=20, help="last lines of each (default 20)")
    arguments = parser.parse_args(argv)
    return logs(find_stack(arguments.stack), arguments.what, arguments.lines, follow=arguments.follow)


def _schema(argv: list[str]) -> int:
    from gateway.lint import editor_schema  # noqa: PLC0415

    return editor_schema.run(argv)


def _fault(argv: list[str]) -> int:
    from gateway.commands.fault import fault_parser, run_fault  # noqa: PLC0415

    return run_fault(fault_parser(_parser("fault", "Make pods fail while they run.")).parse_args(argv))


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "up": _up,
    "cluster": _cluster,
    "ps": _ps,
    "logs": _logs,
    "down": _down,
    "apply": _apply,
    "scale": _scale,
    "kill": _kill,
    "restart": _restart,
    "drain": _drain,
    "fault": _fault,
    "schema": _schema,
    "why": _why,
    "whatif": _whatif,
    "ui": _ui,
}
