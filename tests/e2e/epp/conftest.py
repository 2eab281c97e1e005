"""Which real endpoint pickers there are, and the page's stack with each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.stack.pickers.go import Binary, inspect
from tests.e2e.labkit import CHAT_ROUTE, Lab, Labs, completion
from tests.gateway.picker.real_epp import binaries
from tests.waiting import until

ROOT = Path(__file__).parents[3]


def page() -> list[Path]:
    """The page's two manifests as they were published, or our copies of them."""
    places = (ROOT.parent / "shared" / "page", ROOT / "deploy" / "page" / "exact")
    folder = next(place for place in places if place.is_dir())
    return [folder / "model-server.yaml", folder / "endpoint-picker.yaml"]


@pytest.fixture(scope="module", params=binaries() or [None], ids=lambda path: str(path) if path else "none")
def epp(request: pytest.FixtureRequest) -> Binary:
    """Each binary of EPP_BIN or PATH in turn."""
    if request.param is None:
        pytest.skip("no endpoint picker: set EPP_BIN or put `epp` on the PATH")
    return inspect(request.param)


@pytest.fixture
def figure(figure: Callable[[str], None], epp: Binary) -> Callable[[str], None]:
    """Writes a line into the summary that begins with the picker's name."""
    return lambda text: figure(f"{epp.kind}: {text}")


@dataclass(frozen=True)
class Started:
    """A stack, and the seconds from the command to the first answer 200."""

    lab: Lab
    seconds: float


def start(labs: Labs, epp: Binary | None, *argv: str, name: str) -> Started:
    """A stack with a real picker, or with the reference picker."""
    begin = time.monotonic()
    lab = labs.start(*argv, "--epp", str(epp.path) if epp else "reference", name=name)
    url = until(lambda: _url(lab), 60.0, "the gateway's address")

    def answers() -> bool:
        try:
            answer = httpx.post(f"{url}/v1/completions", json=completion(), timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    until(answers, 30.0, "the first 200")
    seconds = time.monotonic() - begin
    lab.wait_ready()
    return Started(lab, seconds)


def _url(lab: Lab) -> str:
    assert lab.process.poll() is None, lab.text
    line = next((x for x in lab.text.splitlines() if x.startswith("gateway ")), "")
    return line.rpartition(" at ")[2]


def page_with_chat(labs: Labs) -> list[str]:
    files = [word for path in page() for word in ("-f", str(path))]
    return [*files, "-f", labs.manifests(CHAT_ROUTE, "chat.yaml")]


@pytest.fixture(scope="module")
def started(labs: Labs, epp: Binary) -> Iterator[Started]:
    """The page's manifests, untouched, beside a route for chat."""
    made = start(labs, epp, *page_with_chat(labs), name=f"page{len(epp.flags)}")
    yield made
    made.lab.down()


@pytest.fixture(scope="module")
def lab(started: Started) -> Lab:
    return started.lab
