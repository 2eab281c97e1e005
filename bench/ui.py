"""What the live page's server costs: 100 pods at 500 requests a second, one page open, beside the same idle.

python bench/ui.py. Target: under a tenth of a core. The stack is none: its status and the lines of its logs
are written here as fast as a stack of that size and rate writes them (9 candidates a decision, as the brief
log has them), so that nothing but the server is measured. Where there is a Chromium (`make test-ui` installs
what drives it), its frames while the page is fed so are counted as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.entry import parser
from gateway.stack.socket import ControlServer
from kit.children import python

PODS, RATE, SECONDS, SLICE = 100, 500, 20.0, 0.1
SCORERS = ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer")
POOL = "inference-pool-ip-ef538c31.lab.svc.cluster.local"


def place(pod: int) -> str:
    return f"127.9.0.{2 + pod}:8000"


def name(pod: int) -> str:
    return f"inference-model-server-5qh564hwdj-{pod:05d}"


def status(directory: Path) -> dict[str, Any]:
    """As `simfleet ps --format json` tells a stack of that size."""
    pod: dict[str, Any] = {
        "namespace": "lab",
        "pool": "inference-pool",
        "workload": "inference-model-server",
        "ports": [8000],
        "state": "ready",
        "models": ["reviews-1", "meta-llama/Llama-3.1-8B-Instruct"],
        "args": ["--model", "m"] * 6,
        "running": 3,
        "waiting": 1,
        "kv_cache_usage": 0.25,
        "prefix_cache_hit_rate": 0.5,
        "adapters": [],
        "requests": 3,
        "generated_tokens": 100,
    }
    listener = {"port": 80, "url": "http://127.0.0.1:8080", "hostnames": ["*"]}
    return {
        "name": "bench",
        "url": "http://127.0.0.1:8080",
        "started": 1.0,
        "notes": [],
        "events": [],
        "gateways": [
            {
                "name": "gateway",
                "namespace": "lab",
                "url": "http://127.0.0.1:8080",
                "listeners": [listener],
                "admin_url": "http://127.0.0.1:1",
                "access_log": str(directory / "access.log"),
                "curl": None,
            }
        ],
        "pools": [
            {
                "name": "inference-pool",
                "namespace": "lab",
                "host": POOL,
                "picker": "epp",
                "failure_mode": "FailClose",
            }
        ],
        "pickers": [
            {
                "name": "epp",
                "namespace": "lab",
                "pool": "inference-pool",
                "kind": "reference",
                "state": "dead",
                "metrics_url": "http://127.0.0.1:1/",
                "decision_log": str(directory / "decisions.jsonl"),
            }
        ],
        "pods": [{**pod, "name": name(i), "address": place(i).partition(":")[0]} for i in range(PODS)],
    }


def lines(number: int, rng: random.Random) -> tuple[str, str]:
    """One request in the decision log and in the access log."""
    pods = rng.sample(range(PODS), 9)
    candidates = []
    for pod in pods:
        scores = {scorer: rng.random() for scorer in SCORERS}
        candidates.append(
            {
                "endpoint": place(pod),
                "name": f"lab/{name(pod)}-rank-0",
                "age_ms": 20 * rng.random(),
                "waiting": 1,
                "running": 3,
                "kv_usage": 0.25,
                "active_models": [],
                "waiting_models": [],
                "max_active_models": 2,
                "inflight_requests": 3,
                "inflight_tokens": 900,
                "prefix_matched": 12,
                "prefix_total": 16,
                "scores": scores,
                "total": sum(2.0 * score for score in scores.values()),
            }
        )
    best = max(candidates, key=lambda candidate: candidate["total"])["endpoint"]
    request = f"3d436ec4-d4a0-4cec-9801-{number:012d}"
    decision = {
        "time": time.time(),
        "request_id": request,
        "client_id": f"3f17f710/a-{number:06d}",
        "model": "reviews-1",
        "target_model": "reviews-1",
        "objective": "",
        "priority": 0,
        "fairness_id": "default-flow",
        "size_bytes": 900,
        "profile": "default",
        "of_candidates": PODS,
        "candidates": candidates,
        "removed": {},
        "error": None,
        "left_out": dict.fromkeys(SCORERS, 0.5),
        "prefix_block_tokens": 16,
        "picker": "max-score-picker",
        "weights": dict.fromkeys(SCORERS, 2.0),
        "pick": [best],
        "duration_us": 367.4,
    }
    return json.dumps(decision), json.dumps(_access(number, request, best))


def _access(number: int, request: str, best: str) -> dict[str, Any]:
    """The same request in the access log."""
    return {
        "attempts": 1,
        "authority": "127.0.0.1:8080",
        "bytes_received": 900,
        "bytes_sent": 5948,
        "client_id": f"3f17f710/a-{number:06d}",
        "cluster": f"outbound|54321||{POOL}",
        "details": "via_upstream",
        "duration_ms": 163,
        "ext_proc": "rh:1705:0,rb:1:1971:0,sh:1737:0,sb:1:1151:0,bs:7261,os:0,ds:x",
        "first_byte_ms": 34,
        "flags": "-",
        "method": "POST",
        "path": "/v1/completions",
        "picked": best,
        "picker_seen": "true",
        "pod": None,
        "protocol": "HTTP/1.1",
        "request_id": request,
        "route": "lab.inference.0",
        "scores": None,
        "served": best,
        "status": 200,
        "time": "2026-11-27T14:21:58.868Z",
        "upstream_host": best,
    }


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write(directory: Path, ready: Sequence[tuple[str, str]]) -> None:
    """Requests at RATE a second, a slice at a time as Envoy flushes its log."""
    count, begun = len(ready), time.monotonic()
    step = int(RATE * SLICE)
    with (
        (directory / "decisions.jsonl").open("a") as decisions,
        (directory / "access.log").open("a") as access,
    ):
        for start in range(0, count, step):
            decisions.write("".join(f"{one}\n" for one, _ in ready[start : start + step]))
            access.write("".join(f"{one}\n" for _, one in ready[start : start + step]))
            decisions.flush()
            access.flush()
            time.sleep(max(0.0, begun + (start + step) / RATE - time.monotonic()))


def follow(url: str, token: str, received: list[int]) -> None:
    """A page: reads the stream."""
    request = urllib.request.Request(f"{url}api/stream", headers={"x-simfleet-token": token})
    try:
        with urllib.request.urlopen(request) as stream:
            while data := stream.read1(1 << 16):
                received[0] += len(data)
    except OSError:
        return  # the server ends with the bench


COUNT_FRAMES = """seconds => new Promise(done => {
  let frames = 0, longest = 0, last = performance.now();
  const end = last + seconds * 1000;
  const frame = now => {
    frames += 1; longest = Math.max(longest, now - last); last = now;
    if (now < end) requestAnimationFrame(frame); else done([frames / seconds, longest]);
  };
  requestAnimationFrame(frame);
})"""


def frames(url: str, token: str, seconds: float) -> tuple[float, float] | None:
    """Frames a second of the page in a headless Chromium, and its longest frame in ms; None without one."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        return None
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}#token={token}")
        page.wait_for_selector(".tabs")
        found = page.evaluate(COUNT_FRAMES, seconds)
        browser.close()
    return found[0], found[1]


def measure(directory: Path) -> None:
    """Idle, then under load; prints both."""
    url_file = directory / "url"
    argv = python("-m", "gateway.ui", str(directory / "control.sock"), "--url-file", str(url_file))
    with subprocess.Popen(argv) as server:
        try:
            while not url_file.exists():
                time.sleep(0.05)
            url, _, token = url_file.read_text().partition("#token=")
            received = [0]
            threading.Thread(target=follow, args=(url, token, received), daemon=True).start()
            rng = random.Random(1)
            ready = [lines(number, rng) for number in range(int(RATE * SECONDS))]
            shares = []
            for work in (lambda: time.sleep(SECONDS), lambda: write(directory, ready)):
                before, begun, read = cpu_s(server.pid), time.monotonic(), received[0]
                work()
                elapsed = time.monotonic() - begun
                shares.append(((cpu_s(server.pid) - before) / elapsed, (received[0] - read) / elapsed / 1000))
            again = [lines(number, rng) for number in range(int(RATE * SECONDS / 2))]
            writer = threading.Thread(target=write, args=(directory, again))
            writer.start()
            seen = frames(url, token, SECONDS / 4)
            writer.join()
            pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
        finally:
            server.terminate()
    for what, (share, rate) in zip(("idle", f"{RATE}/s"), shares, strict=True):
        print(f"{what:10} {100 * share:5.1f} % of a core, {rate:5.0f} kB/s to a page")
    print("target      10.0 %")
    if seen is not None:
        print(f"page       {seen[0]:5.0f} frames a second at {RATE}/s, longest {seen[1]:.0f} ms (target 30)")
    print(f"memory     {pages * os.sysconf('SC_PAGE_SIZE') >> 20} MB")


def main() -> None:
    parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="sfui") as name_:
        directory = Path(name_)
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        async def answer() -> dict[str, Any]:
            return told

        told = status(directory)
        control = ControlServer(directory / "control.sock", {"status": answer})
        asyncio.run_coroutine_threadsafe(control.start(), loop).result()
        measure(directory)
        asyncio.run_coroutine_threadsafe(control.close(), loop).result()


if __name__ == "__main__":
    main()
