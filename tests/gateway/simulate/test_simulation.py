"""Whole simulations with constant times: every moment is known, and equal to the digit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UsageError
from gateway.simulate.clock import START
from gateway.simulate.picking import PickerChoice
from gateway.simulate.simulation import LEAD, Event, Result
from loadgen.plan.plan import Answer
from tests.gateway.simulate.world import PAGE, TIMED, feed, manifests, request, simulated, stack

T0 = START + LEAD


def times(result: Result) -> dict[str, tuple[float, float, float]]:
    """Intended start, first and last token of each ok answer, in seconds after t0."""
    return {
        job.id: (
            round(job.intended - T0, 9),
            round((call.first or 0.0) - T0, 9),
            round((call.last or 0.0) - T0, 9),
        )
        for job, call in result.ended
        if call.outcome == "ok"
    }


def outcomes(result: Result) -> dict[str, str]:
    return {job.id: call.outcome for job, call in result.ended}


def pods(result: Result) -> list[str]:
    """The pod of each answer in order of sending."""
    return [call.rank.pod for _, call in sorted(result.ended, key=lambda each: each[1].start) if call.rank]


def test_tokens_come_when_the_engine_and_the_gateway_say(tmp_path: Path) -> None:
    result = simulated(stack(tmp_path), feed(tmp_path, [request(0, 0.0), request(1, 0.5)]), delay=0.004)
    assert times(result) == {"r0": (0.0, 0.104, 0.124), "r1": (0.5, 0.604, 0.624)}
    assert len(set(pods(result))) == 2  # in turn


def test_a_run_repeats_to_the_bit(tmp_path: Path) -> None:
    plan = stack(
        tmp_path, replicas=3, args=("--profile", "llama-3.1-8b/h100", "--max-model-len", "4096"), config=PAGE
    )
    load = feed(
        tmp_path, [request(i, i * 0.013, tokens=20 + i % 7, prompt=f"{i % 5} " * 40) for i in range(60)]
    )

    def once() -> list[tuple[str, str, float | None, float | None]]:
        ended = simulated(plan, load).ended
        return [(job.id, call.rank.pod if call.rank else "", call.first, call.end) for job, call in ended]

    assert once() == once()


def test_the_picker_sees_what_was_scraped_at_the_last_tick(tmp_path: Path) -> None:
    """One pod holds KV; the picker knows it from the next scrape on, and until then takes both for equal."""
    config = PAGE.replace("- type: queue-scorer\n", "").replace("- type: prefix-cache-scorer\n", "")
    config = config.replace("  - {pluginRef: queue-scorer, weight: 2}\n", "")
    config = config.replace("  - {pluginRef: prefix-cache-scorer, weight: 3}\n", "")
    plan = stack(
        tmp_path, config=config, args=(*TIMED, "--max-model-len", "4096", "--num-gpu-blocks-override", "1000")
    )
    long = "word " * 2000
    load = [request(0, 0.0, tokens=200, prompt=long), *(request(i, 0.3 + i * 0.01) for i in range(1, 9))]
    chosen = pods(simulated(plan, feed(tmp_path, load)))
    assert len(set(chosen[1:])) == 1
    assert chosen[0] != chosen[1]


def test_turns_follow_the_answer_and_repeat_its_words(tmp_path: Path) -> None:
    first = request(0, 0.0, tokens=5, turns=2, turn=0, session="s")
    body = [
        '{"model":"m","prompt":"hello',
        Answer(0),
        ' and","max_tokens":2,"ignore_eos":true,"stream":true}',
    ]
    second = request(0, None, think=0.25, turns=2, turn=1, session="s", id="r0.1", body=body)
    result = simulated(stack(tmp_path), feed(tmp_path, [first, second]))
    assert times(result) == {"r0": (0.0, 0.1, 0.14), "r0.1": (0.39, 0.49, 0.5)}
    asked = {job.id: call.prompt_tokens or 0 for job, call in result.ended}
    assert asked["r0.1"] > asked["r0"] + 3  # the words of the answer stand in it


def test_users_of_a_closed_loop_wait_for_their_answers(tmp_path: Path) -> None:
    load = feed(tmp_path, [request(i, None, think=0.05) for i in range(5)], users=2)
    found = times(simulated(stack(tmp_path), load))
    # 100 ms and two more tokens are 120 ms, and 50 ms of thinking: each user every 170 ms
    assert found == {
        "r0": (0.05, 0.15, 0.17),
        "r1": (0.05, 0.15, 0.17),
        "r2": (0.22, 0.32, 0.34),
        "r3": (0.22, 0.32, 0.34),
        "r4": (0.39, 0.49, 0.51),
    }


def test_a_closed_loop_by_time_begins_its_plan_again(tmp_path: Path) -> None:
    load = feed(tmp_path, [request(0, None), request(1, None)], users=1, duration=0.5, wrap=True)
    assert list(times(simulated(stack(tmp_path), load))) == ["r0", "r1", "r0#2", "r1#2", "r0#3"]


def test_a_client_that_waits_too_long_leaves(tmp_path: Path) -> None:
    result = simulated(stack(tmp_path), feed(tmp_path, [request(0, 0.0, tokens=50)], timeout=0.3))
    ((_, call),) = result.ended
    assert (call.outcome, call.end) == ("timeout", T0 + 0.3)


def test_a_client_may_leave_after_some_tokens(tmp_path: Path) -> None:
    ((_, call),) = simulated(stack(tmp_path), feed(tmp_path, [request(0, 0.0, tokens=50, cancel=4)])).ended
    assert call.outcome == "client_cancel"
    assert round((call.end or 0.0) - T0, 9) == 0.13


def test_a_killed_pod_loses_what_it_had(tmp_path: Path) -> None:
    plan = stack(tmp_path)
    load = [request(i, i * 0.001, tokens=30) for i in range(2)] + [request(i, i * 0.5) for i in range(2, 6)]
    kill = Event(
        0.2, "kill one", 'simfleet kill "$(simfleet ps --format json | jq -r \'.["pods"][0]["name"]\')"'
    )
    result = simulated(plan, feed(tmp_path, load), events=[kill])
    found = outcomes(result)
    assert sorted((found["r0"], found["r1"])) == ["ok", "reset"]
    assert [found[f"r{i}"] for i in range(2, 6)] == ["ok"] * 4
    assert len(set(pods(result)[2:])) == 1
    assert not result.notes


def test_a_restarted_pod_comes_back_empty(tmp_path: Path) -> None:
    name = stack(tmp_path).servers[0].workload.name
    plan = stack(tmp_path, replicas=1)
    events = [Event(0.2, "kill", f"simfleet kill {name}"), Event(0.4, "restart", f"simfleet restart {name}")]
    result = simulated(plan, feed(tmp_path, [request(0, 0.3), request(1, 1.0)]), events=events)
    assert outcomes(result) == {"r0": "gateway_503", "r1": "ok"}


def test_a_drained_pod_finishes_what_it_has(tmp_path: Path) -> None:
    events = [Event(0.05, "smaller", "simfleet scale pool 1")]
    load = feed(
        tmp_path,
        [request(0, 0.0, tokens=40), request(1, 0.0, tokens=40), *(request(i, i * 0.3) for i in range(2, 6))],
    )
    result = simulated(stack(tmp_path), load, events=events)
    assert set(outcomes(result).values()) == {"ok"}
    assert len(set(pods(result)[:2])) == 2
    assert len(set(pods(result)[2:])) == 1


def test_more_pods_take_their_share(tmp_path: Path) -> None:
    events = [Event(0.5, "larger", "simfleet scale server 4")]
    result = simulated(
        stack(tmp_path), feed(tmp_path, [request(i, i * 0.1) for i in range(20)]), events=events
    )
    assert len(set(pods(result))) == 4


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("kubectl delete pod x", "only one `simfleet kill|restart|drain|scale` is simulated"),
        ("simfleet kill a; rm b", "only one `simfleet"),
        ("simfleet doctor", "simfleet doctor is not simulated"),
        ("simfleet kill nobody", "does not exist"),
        ("simfleet kill server --after-tokens 5", "--after-tokens is not simulated"),
        ("simfleet scale pool many", "needs a pool and a number"),
    ],
)
def test_what_is_not_simulated_is_told(tmp_path: Path, command: str, why: str) -> None:
    result = simulated(
        stack(tmp_path, replicas=1), feed(tmp_path, [request(0, 1.0)]), events=[Event(0.5, "it", command)]
    )
    assert any("event 'it' was not simulated" in note and why in note for note in result.notes)
    assert outcomes(result) == {"r0": "ok"}


def test_flow_control_queues_on_the_virtual_clock(tmp_path: Path) -> None:
    config = (
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\n"
        "plugins:\n- {type: concurrency-detector, parameters: {maxConcurrency: 1}}\n- type: queue-scorer\n"
        "- type: inflight-load-producer\n- type: max-score-picker\n"
        "saturationDetector: {pluginRef: concurrency-detector}\n"
        "schedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: queue-scorer\n"
        "  - pluginRef: max-score-picker\n"
    )
    result = simulated(
        stack(tmp_path, replicas=1, config=config), feed(tmp_path, [request(i, 0.0) for i in range(3)])
    )
    ends = sorted(round((call.end or 0.0) - T0, 9) for _, call in result.ended)
    assert outcomes(result) == dict.fromkeys(("r0", "r1", "r2"), "ok")
    assert ends[0] == 0.12  # one at a time; the next goes at the first cycle after it
    assert all(0.12 <= later - sooner < 0.13 for sooner, later in itertools.pairwise(ends))


def test_a_sheddable_request_is_refused_while_the_pool_is_full(tmp_path: Path) -> None:
    objective = (
        "\n---\napiVersion: inference.networking.x-k8s.io/v1alpha2\nkind: InferenceObjective\n"
        "metadata: {name: cheap}\nspec: {priority: -1, poolRef: {name: pool}}\n"
    )
    plan = stack(tmp_path, replicas=1, config=PAGE, more=objective, args=(*TIMED, "--max-num-seqs", "1"))
    header = {"x-gateway-inference-objective": "cheap"}
    load = [request(i, i * 0.001, tokens=60) for i in range(10)] + [request(10, 0.5, headers=header)]
    found = outcomes(simulated(plan, feed(tmp_path, load)))
    assert found["r10"] == "shed_429"
    assert {found[f"r{i}"] for i in range(10)} == {"ok"}


def test_a_plugin_file_runs_unchanged_on_the_virtual_clock(tmp_path: Path) -> None:
    """It takes the pod whose turn it is by the clock: one in even seconds, the other in odd ones."""
    plugin = tmp_path / "by_clock.py"
    plugin.write_text(
        "import time\n"
        "from gateway.picker.plugins.base import scorer\n"
        "def score(request, candidates, parameters):\n"
        "    names = sorted(c.endpoint.name for c in candidates)\n"
        "    wanted = names[int(time.time()) % len(names)]\n"
        "    return [1.0 if c.endpoint.name == wanted else 0.0 for c in candidates]\n"
        "PLUGINS = {'by-clock': scorer(score)}\n"
    )
    config = PAGE.replace("prefix-cache-scorer", "by-clock").replace("weight: 3", "weight: 100")
    load = feed(tmp_path, [request(i, i * 0.5) for i in range(8)])
    choice = PickerChoice(plugins=(plugin,))
    chosen = pods(simulated(stack(tmp_path, config=config), load, picker=choice))
    first, second = chosen[0], chosen[2]
    assert first != second
    assert chosen == [first, first, second, second] * 2


def test_a_model_that_nobody_serves_is_refused_by_the_server(tmp_path: Path) -> None:
    body = ['{"model":"other","prompt":"a","max_tokens":2}']
    ((_, call),) = simulated(stack(tmp_path), feed(tmp_path, [request(0, 0.0, body=body)])).ended
    assert (call.outcome, call.status) == ("rejected_4xx", 404)


def test_what_a_request_may_ask_and_is_not_simulated_is_counted(tmp_path: Path) -> None:
    body = ['{"model":"m","prompt":"a","max_tokens":2,"n":3}']
    result = simulated(stack(tmp_path), feed(tmp_path, [request(i, i * 0.1, body=body) for i in range(2)]))
    assert result.notes == ["2 requests asked for n=3, which is not simulated"]


def test_a_failed_try_is_made_again(tmp_path: Path) -> None:
    retry: dict[str, Any] = {"attempts": 3, "on": ("gateway_503",), "backoff": 0.5, "jitter": 0.0}
    events = [Event(0.1, "kill", "simfleet kill server"), Event(0.6, "restart", "simfleet restart server")]
    load = feed(tmp_path, [request(0, 0.3)], retry=retry)
    ((job, call),) = simulated(stack(tmp_path, replicas=1), load, events=events).ended
    assert [each.outcome for each in job.tries] == ["gateway_503", "ok"]
    assert call.start == pytest.approx(T0 + 0.8)


def test_manifests_without_a_picker_are_refused(tmp_path: Path) -> None:
    plan = stack(tmp_path)
    plan.pickers.clear()
    with pytest.raises(UsageError, match="have 0"):
        simulated(plan, feed(tmp_path, [request(0, 0.0)]))
    assert manifests(tmp_path).is_file()
