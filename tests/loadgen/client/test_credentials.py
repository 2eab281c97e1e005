"""What is added to requests as they leave: a key, or a URL's user; and what a plan lacks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen.client.credentials import api_headers
from loadgen.errors import ScenarioError
from loadgen.plan.plan import PlanHeader
from loadgen.plan.prepare import PlanInfo
from loadgen.scenario.read import read_scenario
from loadgen.scenario.redaction import MARK
from loadgen.scenario.scenario import Scenario

TEXT = "model: m\nclasses: {a: {arrival: {rate: 1, requests: 1}}}"
URL = "http://127.0.0.1:9"
OTHERS = "give the scenario that has it beside --plan"


def scenario(key: str | None = None) -> Scenario:
    return replace(read_scenario(TEXT, "s.yaml"), api_key=key)


def info(**hidden: str) -> PlanInfo:
    return PlanInfo(PlanHeader(), 1, hidden={name.replace("_", "-"): value for name, value in hidden.items()})


def test_without_a_key_nothing_is_added() -> None:
    assert api_headers(scenario(), info(), URL) == {}


def test_a_key_is_a_bearer_and_wins_over_the_url() -> None:
    for url in (URL, "http://user:password@127.0.0.1:9"):
        assert api_headers(scenario("sk-a-long-key"), info(), url) == {
            "authorization": "Bearer sk-a-long-key"
        }


def test_user_and_password_of_the_url() -> None:
    found = api_headers(scenario(), info(), "http://Aladdin:open%20sesame@127.0.0.1:9")
    assert found == {"authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}  # RFC 7617, section 2


def test_what_is_sent_is_written_nowhere() -> None:
    one = scenario("sk-a-long-key")
    api_headers(one, info(), URL)
    assert "sk-a-long-key" not in one.secrets.hide("it answered: no such key sk-a-long-key")


def test_a_placeholder_of_the_plan_is_filled_with_the_key() -> None:
    one = scenario("sk-a-long-key")
    api_headers(one, info(authorization=f"Bearer {MARK}7"), URL)
    assert one.secrets.reveal(f"Bearer {MARK}7") == "Bearer sk-a-long-key"


@pytest.mark.parametrize(
    ("header", "key", "advice"),
    [
        ("authorization", None, f"{OTHERS}, or --api-key-env NAME"),
        ("x_token", None, OTHERS),
        ("x_token", "sk-a-long-key", OTHERS),  # a key is no token
    ],
)
def test_a_placeholder_that_nothing_fills_is_an_error(header: str, key: str | None, advice: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        api_headers(scenario(key), info(**{header: f"{MARK}7"}), URL)
    name = header.replace("_", "-")
    assert str(caught.value) == f"the plan's header {name} is a secret, which no plan holds: {advice}"


def test_a_placeholder_that_the_scenario_knows_stays() -> None:
    one = scenario()
    one.secrets.values[f"{MARK}7"] = "known"
    assert api_headers(one, info(x_token=f"{MARK}7"), URL) == {}
    assert one.secrets.reveal(f"{MARK}7") == "known"
