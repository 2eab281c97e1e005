"""Fixtures for test suites of endpoint pickers and gateways; pytest finds them by their entry point.

@pytest.mark.simfleet(manifests="page.yaml", plugins=["my_scorer.py"], replicas=3)
def test_prefixes_stay_together(simfleet_stack, simfleet_run):
    result = simfleet_run("hot-prefix", duration="10s")
    assert result.figures()["prefix.hit_share"] > 0.5
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from simfleet.load import Result, run
from simfleet.stack import Stack

_MARKER = (
    "simfleet(manifests=None, replicas=None, plugins=(), epp_config=None, **flags): "
    "the stack that simfleet_stack starts; paths are relative to the test's file"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that say which picker is under test."""
    group = parser.getgroup("simfleet", "stacks of simulated model servers")
    group.addoption(
        "--simfleet-epp", metavar="auto|reference|PATH", help="the endpoint picker of every simfleet_stack"
    )
    group.addoption(
        "--simfleet-manifests", metavar="FILE|DIR", help="manifests of stacks whose test names none"
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker, so that --strict-markers knows it."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def simfleet_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of its own for the test, as its marker `simfleet(...)` says; ended after it."""
    mark = request.node.get_closest_marker("simfleet")
    given = dict(mark.kwargs) if mark is not None else {}
    here = Path(request.path).parent
    for key in ("manifests", "epp_config"):
        if isinstance(given.get(key), str) and "\n" not in given[key]:
            given[key] = here / given[key]
    if "plugins" in given:
        given["plugins"] = [here / plugin for plugin in given["plugins"]]
    option = request.config.getoption
    if (epp := option("--simfleet-epp")) is not None:
        given.setdefault("epp", epp)
    if (manifests := option("--simfleet-manifests")) is not None:
        given.setdefault("manifests", Path(manifests).resolve())
    with Stack(**given) as stack:
        yield stack


@pytest.fixture
def simfleet_run(simfleet_stack: Stack, tmp_path: Path) -> Callable[..., Result]:
    """`simfleet.run` against the test's stack; the run stays in the test's tmp_path."""
    return partial(run, target=simfleet_stack.url, name=simfleet_stack.name, out=tmp_path / "run")
