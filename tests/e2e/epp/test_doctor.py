"""doctor's table with a real picker: its own TLS, its own words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway import doctor
from gateway.stack.pickers.go import Binary
from tests.e2e.labkit import Lab, Labs
from tests.e2e.test_doctor import STATIC, broken_world
from tests.waiting import until

pytestmark = pytest.mark.epp
TAIL = "/v1/completions"
"""llm-d-router reads the bodies of the paths that it knows, by how they end."""


@pytest.fixture(scope="module")
def broken(labs: Labs, epp: Binary) -> Iterator[Lab]:
    text = labs.manifests(broken_world(TAIL), "broken.yaml")
    made = labs.up("-f", text, "--istio-bugs", "--epp", str(epp.path), name=f"broken{len(epp.flags)}")
    yield made
    made.down()


def test_every_row_but_the_picker_s_own_mistakes(
    broken: Lab, epp: Binary, labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMFLEET_STATE_DIR", str(labs.state))

    def cause(path: str, *argv: str) -> str:
        doctor.run([path, *argv, "--name", broken.name, "--format", "json"])
        return str(json.loads(capsys.readouterr().out)[0]["cause"])

    found = {}
    for path, body, more, _ in STATIC:
        flags = list(more) if more[:1] == ("-m",) else [w for line in more for w in ("-H", line)]
        found[path, body, more] = cause(path + TAIL, *(() if body is None else ("-d", body)), *flags)
    assert found == {(path, body, more): wanted for path, body, more, wanted in STATIC}
    for pod in (p for p in broken.pods if p["workload"] == "full"):
        broken.ask("kill", name=pod["name"])
    body = STATIC[0][1] or ""
    until(
        lambda: cause("/full" + TAIL, "-d", body) == "no-candidates",
        10.0,
        "the picker knows that they are gone",
    )
