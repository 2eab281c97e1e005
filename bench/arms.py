"""Acceptance of `loadgen compare` on a real stack: the page's weights against round robin and against the
worst policy there is, and identical arms, which must not be told apart, with the scatter of their repeats.

    python bench/arms.py policies --scenario hot-prefix --repeats 5
    python bench/arms.py identical --trials 20 --duration 10s --repeats 3

Each run has a fresh fleet (Envoy, reference picker, simulated pods) on port PORT; results go to --out.
"""

from __future__ import annotations

import collections
import json
import math
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.entry import ROOT, parser
from loadgen.judge.paired import METRICS
from loadgen.records.rundir import fresh_directory

BIN = Path(sys.executable).parent
PRESET = ROOT / "gateway" / "presets" / "lab" / "lab.yaml"
PORT = 18090
STACK = "bench-arms"
TOLD = ("beats", "loses to", "trades with")

HEAD = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n"
CONFIGS = {
    "page": HEAD
    + "plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}, {type: prefix-cache-scorer}]\n"
    "schedulingProfiles:\n- name: default\n  plugins: [{pluginRef: queue-scorer, weight: 2}, "
    "{pluginRef: kv-cache-utilization-scorer, weight: 2}, {pluginRef: prefix-cache-scorer, weight: 3}]\n",
    "all-to-one": HEAD + "plugins: [{type: first-name-scorer}]\n"
    "schedulingProfiles: [{name: default, plugins: [{pluginRef: first-name-scorer, weight: 1}]}]\n",
    "round-robin": HEAD + "plugins: [{type: round-robin-picker}]\n"
    "schedulingProfiles: [{name: default, plugins: [{pluginRef: round-robin-picker}]}]\n",
}
PLUGIN = '''"""A deliberately bad policy: everything goes to the pod whose name comes first."""

import msgspec

from gateway.picker.plugins.base import scorer


class Parameters(msgspec.Struct):
    pass


def first_name(request, candidates, parameters):
    first = min(candidate.endpoint.name for candidate in candidates)
    return [float(candidate.endpoint.name == first) for candidate in candidates]


PLUGINS = {"first-name-scorer": scorer(first_name, Parameters)}
'''


def compare(out: Path, scenario: str, arms: dict[str, str], *flags: str) -> dict[str, Any]:
    """One comparison; its comparison.json."""
    fresh_directory(out, ["first_name.py", "runs", *(f"{name}.yaml" for name in arms)])
    plugin = out / "first_name.py"
    plugin.write_text(PLUGIN)
    files = []
    for name, config in arms.items():
        files.append(out / f"{name}.yaml")
        files[-1].write_text(CONFIGS[config])
    manifests = f"loadgen scenarios {scenario} --manifests {shlex.quote(str(PRESET))}"
    up = f"simfleet up -f - --detach --name {STACK} --port {PORT} --epp reference --plugin {plugin}"
    command = [
        *(str(BIN / "loadgen"), "compare", scenario, "--arms", ",".join(map(str, files))),
        *(
            "--setup",
            f"{manifests} | {up} --epp-config {{arm}}",
            "--teardown",
            f"simfleet down --name {STACK}",
        ),
        *("--fleet", f"simfleet ps --name {STACK} --format json", "-o", str(out / "runs"), *flags),
    ]
    subprocess.run(command, check=False)
    found: dict[str, Any] = json.loads((out / "runs" / "comparison.json").read_text())
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("what", choices=["policies", "identical"])
    options.add_argument("--scenario", default="steady")
    options.add_argument("--repeats", default="5")
    options.add_argument("--duration", default=None)
    options.add_argument("--trials", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path("runs/bench-arms"))
    args = options.parse_args()
    flags = ["--repeats", args.repeats, *(["--duration", args.duration] if args.duration else [])]
    if args.what == "policies":
        compare(args.out, args.scenario, {name: name for name in CONFIGS}, *flags)
        return
    told, judged, logs = 0, 0, collections.defaultdict[str, list[float]](list)
    for trial in range(args.trials):
        arms = {"a": "page", "b": "page"}
        more = ("--seed", str(trial), "--no-selftest", "-q")
        found = compare(args.out / f"trial-{trial}", args.scenario, arms, *flags, *more)
        verdict = found["verdicts"]["a"]
        judged += verdict != "is not judged against"
        told += verdict in TOLD
        for path, deviation in scatter(found).items():
            logs[path].append(deviation)
        print(f"trial {trial + 1}: {found['sentences']}; told apart so far: {told}", flush=True)
    print(f"{told} of {judged} identical comparisons that could be judged were told apart")
    print("standard deviation of a repeat's log ratio (of shares: difference), root mean square over trials:")
    for path, deviations in logs.items():
        print(f"  {path:<14} {100 * math.sqrt(statistics.fmean(d * d for d in deviations)):.1f} %")


def scatter(found: Mapping[str, Any]) -> dict[str, float]:
    """By path of each judged metric with a value in all repeats, two and more; found: comparison.json."""
    out = {}
    for metric in METRICS:
        a, b = (found["values"][arm].get(metric.path, []) for arm in ("a", "b"))
        if not metric.judged or len(a) < 2 or None in (*a, *b) or (metric.relative and 0 in (*a, *b)):
            continue
        pairs = zip(a, b, strict=True)
        out[metric.path] = statistics.stdev(math.log(x / y) if metric.relative else x - y for x, y in pairs)
    return out


if __name__ == "__main__":
    main()
