"""`make demo`: the page on this machine, what its picker did with a mixed load, and how good that was.

Everything is done with the commands that a user has; each is shown before it runs. The load, the two picker
configurations and the manifests are in gateway/presets. Results go to results/demo.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.commands.up import preset
from gateway.doctor.send import read_curl, send
from gateway.errors import UsageError
from gateway.stack import owned
from kit.console import complain, say
from kit.printable import cell

STACK = "demo"
REPEATS = 6  # at most; the comparison stops once the two are told apart
UNTRUSTED = 2  # exit code of loadgen for a run that should not be believed
RESULTS = Path("results") / "demo"
PRESETS = Path(__file__).parents[1] / "presets"
_TIMEOUT_S = 120.0
_COMPARE_TIMEOUT_S = 600.0
_END_TIMEOUT_S = 20.0


class Shell:
    """Runs commands that are shown first. `simfleet` and `loadgen` are this Python's."""

    def __init__(self) -> None:
        bin_directory = Path(sys.executable).parent
        self.env = {**os.environ, "PATH": f"{bin_directory}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(self, *argv: str, shown: str | None = None, timeout: float = _TIMEOUT_S) -> None:
        """Run and let it print for at most `timeout` seconds; raises CalledProcessError, TimeoutExpired."""
        say(f"\n$ {shown or shlex.join(argv)}")
        with subprocess.Popen(argv, env=self.env) as process:
            try:
                code = process.wait(timeout)
            except BaseException as error:  # Ctrl-C went to it as well: it takes down what it brought up
                _end(process, asked=isinstance(error, KeyboardInterrupt))
                raise
        if code:
            raise subprocess.CalledProcessError(code, argv)

    def read(self, *argv: str, untrusted: bool = False) -> str:
        """Run silently; standard output. untrusted: take the exit code of a run that trusts itself not.

        CalledProcessError for any other.
        """
        done = subprocess.run(
            argv, env=self.env, check=False, timeout=_TIMEOUT_S, stdout=subprocess.PIPE, text=True
        )
        if done.returncode and not (untrusted and done.returncode == UNTRUSTED):
            raise subprocess.CalledProcessError(done.returncode, argv)
        return done.stdout


def _end(process: subprocess.Popen[bytes], *, asked: bool) -> None:
    """Wait for a command that was told to end, or tell it; kill it when it does not."""
    if not asked:
        process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def routing_table(report: dict[str, Any]) -> Table:
    """Where requests went and which scorer decided, as a run's report.json has it."""
    spread, staleness = report["spread"] or {}, report["staleness"] or {}
    table = Table(title="where requests went, and why", title_justify="left")
    table.add_column("")
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    for pod, count in spread.get("counts", {}).items():
        table.add_row(cell(f"pod ...{pod[-11:]}"), str(count), f"{100 * spread['shares'][pod]:.0f} %")
    table.add_section()
    for reason, part in staleness.get("reasons", {}).items():
        table.add_row(cell(f"decided by {reason}"), "", f"{100 * part:.0f} %")
    return table


def curl(shell: Shell, command: str) -> None:
    """The page's request; from Python where curl is not installed."""
    if shutil.which("curl"):
        shell.run(*shlex.split(command), shown=command)
        return
    answer = send(read_curl(command), 10)
    headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    say(f"\n$ {command}\nHTTP/1.1 {answer.status}\n{headers}\n{answer.body}")


def page(shell: Shell, manifests: Path) -> None:
    """The page: up, its curl, a mixed load, where the requests went, down."""
    up = ("simfleet", "up", "--detach", "--name", STACK, "--epp", "reference", "-f", str(manifests))
    say("\n== the page: three model servers behind a Gateway with an endpoint picker")
    shell.run(*up)
    try:
        stack = json.loads(shell.read("simfleet", "ps", "--name", STACK, "--format", "json"))["stacks"][0]
        curl(shell, stack["gateways"][0]["curl"])
        load = ("loadgen", "run", str(PRESETS / "demo" / "mixed.yaml"), "--target", stack["url"])
        fleet = ("--fleet", f"simfleet ps --name {STACK} --format json")
        argv = (*load, *fleet, "--no-selftest", "-q", "-o", str(RESULTS / "page"))
        say(f"\n$ {shlex.join(argv)}")
        say("\n".join(shell.read(*argv, untrusted=True).rstrip().splitlines()[-2:]) + "\n")
        report = json.loads((RESULTS / "page" / "report.json").read_text(encoding="utf-8"))
        Console(width=None if sys.stdout.isatty() else 120).print(routing_table(report))
    finally:
        shell.run("simfleet", "down", "--name", STACK)


def compare(shell: Shell, manifests: Path) -> None:
    """Were the page's weights any good? The same load under them and under round robin."""
    say("\n== the same load under the page's weights and under round robin, on fresh pods each time")
    arms = ",".join(str(PRESETS / "demo" / name) for name in ("page.yaml", "round-robin.yaml"))
    up = f"simfleet up --detach --name {STACK} --epp reference -f {shlex.quote(str(manifests))}"
    argv = (
        *("loadgen", "compare", str(PRESETS / "demo" / "mixed.yaml"), "--arms", arms),
        *("--repeats", str(REPEATS), "--until", "told-apart", "--setup", up + " --epp-config {arm}"),
        *("--teardown", f"simfleet down --name {STACK}"),
        *("--fleet", f"simfleet ps --name {STACK} --format json"),
        *("--no-selftest", "-o", str(RESULTS / "comparison")),
    )
    try:
        shell.run(*argv, timeout=_COMPARE_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        if error.returncode != UNTRUSTED:
            raise
        say("This machine is busy with other things, so the comparison does not trust its own timing.")


def main() -> int:
    """Run the demo; the exit code."""
    begin = time.monotonic()
    shell = Shell()
    try:
        owned.renew(RESULTS)
    except (UsageError, OSError) as error:
        complain(f"demo: {error}")
        return 1
    work = Path(tempfile.mkdtemp(prefix="simfleet-demo-"))
    try:
        manifests = work / "lab.yaml"
        manifests.write_text(shell.read("loadgen", "scenarios", "hot-prefix", "--manifests", *preset()))
        page(shell, manifests)
        compare(shell, manifests)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        complain(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        down = ("simfleet", "down", "--name", STACK)  # where Ctrl-C met the stack's own command
        subprocess.run(down, env=shell.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        complain("demo: interrupted")
        return 130
    finally:
        shutil.rmtree(work)
    pictures = RESULTS / "comparison" / "comparison.html"
    say(f"\n{time.monotonic() - begin:.0f} s; pictures and figures: {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
