"""The commands of the Istio task page, verbatim and in its order, against `simfleet cluster`.

The page's text is not part of this repository; where it is not at hand the test says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kubekit import CRDS, Cluster

PAGE = Path(__file__).parents[3] / "shared" / "page" / "istio-task.zh.md"
# What the site's templates put into the commands.
VERSIONS = {
    "k8s_gateway_api_version": "v1.4.0",
    "k8s_gateway_api_inference_extension_version": "v1.0.1",
}


def blocks(text: str) -> Iterator[str]:
    """The script of each block: what stands behind a `$ `, with the lines that go on with it."""
    for indent, body in re.findall(
        r"^( *)\{\{< text bash >\}\}\n(.*?)^ *\{\{< /text >\}\}", text, re.DOTALL | re.MULTILINE
    ):
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        script: list[str] = []
        open_end = False  # a heredoc or a backslash goes on
        for line in lines:
            if line.startswith("$ "):
                script.append(line[2:])
                open_end = line.endswith(("\\", "<<EOF"))
            elif open_end:
                script.append(line)
                open_end = line != "EOF" if "EOF" in "\n".join(script) else line.endswith("\\")
        yield re.sub(r"\{\{< (\w+) >\}\}", lambda m: VERSIONS[m[1]], "\n".join(script))


def run_page(cluster: Cluster) -> dict[str, float]:
    """Run it all; seconds from the first command to the answer of the curl, and to the end."""
    if not PAGE.is_file() or not CRDS.is_dir():
        pytest.skip(f"the page or the published CRDs are not at {PAGE.parents[1]}")
    crds, istio, servers, picker, address, curl, cleanup, uninstall, remove = blocks(
        PAGE.read_text(encoding="utf-8")
    )
    before = cluster.kubectl("get", "all,cm,sa", "-A", "-o", "name").stdout
    begun = time.monotonic()
    for block in (crds, istio, servers, picker):
        done = cluster.sh(f"set -e\n{block}")
        assert done.returncode == 0, done.stderr
    # The shell of the page is one: what it exports, the next block uses.
    answer = cluster.sh(f"set -e\n{address}\n{curl}")
    answered = time.monotonic() - begun
    assert answer.returncode == 0, answer.stderr
    head, _, body = answer.stdout.partition("\n\n")
    assert "condition met" in head
    assert "HTTP/1.1 200 OK" in head
    assert "server: istio-envoy" in head
    assert '"model":"reviews-1"' in body
    for block in (cleanup, uninstall):
        done = cluster.sh(f"set -e\n{block}")
        assert done.returncode == 0, done.stderr
    left = cluster.kubectl("get", "all,cm,sa", "-A", "-o", "name").stdout
    assert set(left.splitlines()) <= set(before.splitlines())
    assert cluster.sh(f"set -e -o pipefail\n{remove}").returncode == 0
    assert cluster.kubectl("get", "inferencepools", "-A").returncode == 1
    return {"answered": answered, "all": time.monotonic() - begun}


def test_the_page_word_for_word(cluster: Cluster) -> None:
    before = cluster.cpu_s()
    took = run_page(cluster)
    spent = cluster.cpu_s() - before
    times = f"200 after {took['answered']:.1f} s, the end after {took['all']:.1f} s"
    print(f"the page: {times}, {spent:.1f} s of CPU")
    # On a quiet machine the page waits for the cluster's own work, and that no load stretches.
    assert spent < 5
