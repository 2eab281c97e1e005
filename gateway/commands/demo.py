"""`make demo`: the page on this machine, what its picker did with a mixed load, and how good that was.

Everything is done with the commands that a user has; each is shown before it runs. The load, the two picker
configurations and the manifests are in gateway/presets. Results go to results/demo.
"""

from __future__ import annotations

import collections
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
        """Run silently; standard output. untrusted: take the exit code of a run that trusts itself not."""
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


def reason_of(decision: dict[str, Any]) -> str:
    """Why a decision fell as it did: the scorer in which the pick was furthest above the others' mean."""
    if not decision["pick"]:
        return decision["error"] or "no endpoint"
    picked = next((c for c in decision["candidates"] if c["endpoint"] == decision["pick"][0]), None)
    if picked is None:
        return "no body, by chance"
    others = [c for c in decision["candidates"] if c is not picked]
    if not others:
        return "the only endpoint"
    lead = {
        name: score - sum(c["scores"].get(name, 0.0) for c in others) / len(others)
        for name, score in picked["scores"].items()
    }
    best = max(lead, key=lambda name: lead[name], default="")
    return best.removesuffix("-scorer") if lead.get(best, 0.0) > 1e-9 else "equal scores, by chance"


def decision_table(path: Path, pods: dict[str, str]) -> Table:
    """Requests per pod and reason; `pods` maps ip:port to a name."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        decision = json.loads(line)
        where = decision["pick"][0] if decision["pick"] else "nowhere"
        counts[pods.get(where, where), reason_of(decision)] += 1
    reasons = [reason for reason, _ in _totals(counts, 1).most_common()]
    table = Table(title="where requests went, and why", title_justify="left")
    table.add_column("pod")
    for reason in reasons:
        table.add_column(cell(reason), justify="right")
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    whole = sum(counts.values())
    for pod, total in sorted(_totals(counts, 0).items()):
        table.add_row(
            cell(f"...{pod[-11:]}"),
            *(str(counts[pod, r]) for r in reasons),
            str(total),
            f"{100 * total / whole:.0f} %",
        )
    return table


def _totals(counts: collections.Counter[tuple[str, str]], index: int) -> collections.Counter[str]:
    result: collections.Counter[str] = collections.Counter()
    for key, count in counts.items():
        result[key[index]] += count
    return result


def curl(shell: Shell, command: str) -> None:
    """The page's request; from Python where curl is not installed."""
    if shutil.which("curl"):
        shell.run(*shlex.split(command), shown=command)
        return
    answer = send(read_curl(command), 10)
    headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    say(f"\n$ {command}\nHTTP/1.1 {answer.status}\n{headers}\n{answer.body}")


def page(shell: Shell, work: Path, manifests: Path) -> None:
    """The page: up, its curl, a mixed load, where the requests went, down."""
    log = work / "decisions.jsonl"
    up = ("simfleet", "up", "--detach", "--name", STACK, "--epp", "reference", "-f", str(manifests))
    say("\n== the page: three model servers behind a Gateway with an endpoint picker")
    shell.run(*up, "--decision-log", str(log))
    try:
        stack = json.loads(shell.read("simfleet", "ps", "--name", STACK, "--format", "json"))["stacks"][0]
        curl(shell, stack["gateways"][0]["curl"])
        load = ("loadgen", "run", str(PRESETS / "demo" / "mixed.yaml"), "--target", stack["url"])
        fleet = ("--fleet", f"simfleet ps --name {STACK} --format json")
        argv = (*load, *fleet, "--no-selftest", "-q", "-o", str(RESULTS / "page"))
        say(f"\n$ {shlex.join(argv)}")
        say("\n".join(shell.read(*argv, untrusted=True).rstrip().splitlines()[-2:]) + "\n")
        pods = {f"{p['address']}:{port}": p["name"] for p in stack["pods"] for port in p["ports"]}
        if log.exists():
            Console(width=None if sys.stdout.isatty() else 120).print(decision_table(log, pods))
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
        page(shell, work, manifests)
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
