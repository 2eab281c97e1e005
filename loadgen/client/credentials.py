"""What a client presents of itself: headers that are added as requests are sent, and stand in no plan."""

from __future__ import annotations

from loadgen.client.urls import user_of
from loadgen.errors import ScenarioError
from loadgen.plan.prepare import PlanInfo
from loadgen.scenario.redaction import MARK
from loadgen.scenario.scenario import Scenario


def api_headers(scenario: Scenario, info: PlanInfo, url: str) -> dict[str, str]:
    """What is added to requests as they are sent: the API key, or the user name and password of the URL.

    ScenarioError when the plan has a placeholder for a secret that is not at hand.
    """
    secrets, key = scenario.secrets, scenario.api_key
    given = {"authorization": f"Bearer {key}"} if key else user_of(url)
    for name, value in info.hidden.items():
        if MARK not in secrets.reveal(value):
            continue
        if name != "authorization" or not given:
            raise ScenarioError(
                f"the plan's header {name} is a secret, which no plan holds: give the scenario that has it "
                "beside --plan" + (", or --api-key-env NAME" if name == "authorization" else "")
            )
        secrets.values[value.partition(" ")[2] or value] = given[name].partition(" ")[2]
    if given:
        secrets.learn_value("authorization", given["authorization"])
    return given
