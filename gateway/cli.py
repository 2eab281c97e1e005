"""`simfleet`: names of commands and where they live. Nothing is imported before it is called.

Exit codes: what the command says; 2 for a command that does not exist, 130 after Ctrl-C, 141 when the
reader of its output left.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from kit.console import complain, exit_code, say, show

# name -> one line of help
SIMULATOR = {
    "serve": "one replica: an imitation of `vllm serve`, with its flags",
    "fleet": "many replicas in one process, each on its own address",
    "replay": "a workload through engines in virtual time",
    "calibrate": "a step model of one's own server, from runs measured there",
    "profiles": "the named step models",
}
LAB = {
    "simulate": "picker, engines and a plan of load in virtual time",
    "size": "how many replicas of which profile a load needs",
}
STACK = {
    "up": "run the manifests of an inference gateway on this machine",
    "cluster": "a Kubernetes API that kubectl writes to; what is written runs",
    "apply": "change a running stack to other manifests",
    "ps": "what is running",
    "logs": "output of one part of the stack",
    "down": "stop the stack",
    "scale": "change the number of replicas of a Deployment",
    "kill": "end a replica at once, connections and all",
    "restart": "a fresh replica on the same address",
    "drain": "readiness off, requests in flight finish, then the replica ends",
    "fault": "stall, slow, cut, refuse, errors, false metrics: faults of pods by name",
    "ui": "the live page of a stack: flow, pods, requests and why, what if",
    "why": "the decision behind a request: candidates, scores, reason",
    "whatif": "which of the last picks other weights would change",
    "lint": "mistakes in the manifests, before traffic finds them",
    "doctor": "why the gateway answers as it does",
    "schema": "the JSON schema of an EndpointPickerConfig, for editors",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(usage())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    own = rest[: rest.index("--")] if "--" in rest else rest
    if name in ("-V", "--version", "version") or "--version" in own:
        from importlib.metadata import version  # noqa: PLC0415

        say(version("vllm-simfleet"))
        return 0
    if name == "completion":
        return _completion(rest)
    if name in SIMULATOR:
        from simulator.cli import run as run_simulator  # noqa: PLC0415

        return run_simulator(name, rest)
    if name in LAB:
        if name == "size":
            from gateway.size.command import run as size  # noqa: PLC0415

            return size(rest)
        from gateway.simulate.command import run as simulate  # noqa: PLC0415

        return simulate(rest)
    if name in STACK:
        from gateway.commands.parse import run as run_stack  # noqa: PLC0415

        return run_stack(name, rest)
    complain(f"simfleet: {unknown(name)}")
    return 2


def _completion(arguments: Sequence[str]) -> int:
    from kit.completion import SHELLS, Words, flags_of, script  # noqa: PLC0415

    if len(arguments) == 2 and arguments[0] == "words" and arguments[1] in _WORDS:
        show("\n".join([*_WORDS[arguments[1]](), ""]))
        return 0
    if arguments[:1] in (["-h"], ["--help"]):
        say(f"usage: simfleet completion {'|'.join(SHELLS)}")
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        complain(f"simfleet completion: give one of {', '.join(SHELLS)}")
        return 2
    commands = {name: flags_of(main, name) for name in (*SIMULATOR, *LAB, *STACK)}
    words = Words(
        {"--name": "stacks", "--profile": "profiles", "--pod": "pods", "--scenario": "scenarios"},
        {"kill|restart|drain|fault|logs": "pods", "scale": "workloads"},
    )
    show(script(arguments[0], "simfleet", {**commands, "completion": ()}, words))
    return 0


def _stacks() -> list[str]:
    from gateway.stack.statedir import running_stacks  # noqa: PLC0415

    return [stack.name for stack in running_stacks()]


def _reported(part: str) -> list[str]:
    from gateway.commands.ps import reports_of  # noqa: PLC0415

    return [item["name"] for report in reports_of() for item in report.get(part, ())]


def _profiles() -> list[str]:
    from simulator.cli import profile_names  # noqa: PLC0415

    return profile_names()


def _scenarios() -> list[str]:
    import subprocess  # noqa: PLC0415 - --help need not pay for children

    from kit.children import python  # noqa: PLC0415

    command = python("-c", "from loadgen.cli import main; main()", "completion", "words", "scenarios")
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()


_WORDS: dict[str, Callable[[], list[str]]] = {
    "stacks": _stacks,
    "pods": lambda: ["all", *_reported("pods"), *_reported("pickers"), *_reported("gateways")],
    "workloads": lambda: _reported("workloads"),
    "profiles": _profiles,
    "scenarios": _scenarios,
}


def unknown(name: str) -> str:
    """The words for a command that does not exist."""
    close = difflib.get_close_matches(name, [*SIMULATOR, *LAB, *STACK], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown command {name!r}{hint} (`simfleet --help` lists all)"


def usage() -> str:
    """All commands, one line each."""
    lines = ["usage: simfleet COMMAND [arguments]", "", "the simulator:"]
    lines += [f"  {name:<10} {about}" for name, about in SIMULATOR.items()]
    lines += ["", "without waiting:"]
    lines += [f"  {name:<10} {about}" for name, about in LAB.items()]
    lines += ["", "the gateway:"]
    lines += [f"  {name:<10} {about}" for name, about in STACK.items()]
    lines += ["", "  completion bash|zsh|fish   a script that completes commands and flags"]
    lines += ["", "`simfleet COMMAND --help` lists what a command takes; `loadgen` sends the load.", ""]
    return "\n".join(lines)
