"""The commands of the Istio task page, verbatim and in its order, against `simfleet cluster`.

The page's text is not part of this repository; where it is not at hand the test says so.
"""

from __future__ import annotations

import re
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


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if not PAGE.is_file() or not CRDS.is_dir():
        pytest.skip(f"the page or the published CRDs are not at {PAGE.parents[1]}")
    made = Cluster()
    try:
        yield made
    finally:
        assert made.close() == 0


def test_the_page_word_for_word(cluster: Cluster) -> None:
    crds, istio, servers, picker, address, curl, cleanup, uninstall, remove = blocks(
        PAGE.read_text(encoding="utf-8")
    )
    before = cluster.kubectl("get", "all,cm,sa", "-A", "-o", "name").stdout
    for block in (crds, istio, servers, picker):
        done = cluster.sh(f"set -e\n{block}")
        assert done.returncode == 0, done.stderr
    # The shell of the page is one: what it exports, the next block uses.
    answer = cluster.sh(f"set -e\n{address}\n{curl}")
    assert answer.returncode == 0, answer.stderr
    head, _, body = answer.stdout.partition("\n\n")
    assert "condition met" in head
    assert "HTTP/1.1 200 OK" in head
    assert "server: istio-envoy" in head
    assert '"model":"reviews-1"' in body
    for block in (cleanup, uninstall):
        done = cluster.sh(f"set -e\n{block}")
        assert done.returncode == 0, done.stderr
    assert cluster.kubectl("get", "all,cm,sa", "-A", "-o", "name").stdout == before
    assert cluster.sh(f"set -e -o pipefail\n{remove}").returncode == 0
    assert cluster.kubectl("get", "inferencepools", "-A").returncode == 1
