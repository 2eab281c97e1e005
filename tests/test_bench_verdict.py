"""What bench/verdict.py draws is what it says: queues of known mean, arms of known difference, stops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench import verdict
from bench.arms import scatter
from bench.verdict import QUEUES, SCATTER, SLOWER, TIMES, Queue
from loadgen.judge.looks import alpha_of, told_apart
from loadgen.judge.paired import METRICS, compare


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_services_have_mean_one_and_the_square_they_say(queue: Queue) -> None:
    drawn = queue.service(np.random.default_rng(1), 200_000)
    assert drawn.mean() == pytest.approx(1, rel=0.02)
    assert (drawn**2).mean() == pytest.approx(queue.square, rel=0.05)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_queues_are_in_their_steady_state_from_the_first_request_on(queue: Queue) -> None:
    rng = np.random.default_rng(2)
    mean = 1 + 0.7 * queue.square / (2 * 0.3)
    runs = [queue.sojourns(rng, 0.7, 400) for _ in range(250)]
    assert {run.size for run in runs} == {400}
    for part in (slice(0, 100), slice(300, 400)):
        assert np.mean([run[part].mean() for run in runs]) == pytest.approx(mean, rel=0.12)


def test_a_queue_adds_up_by_hand() -> None:
    """Lindley's recursion, request by request."""
    rng = np.random.default_rng(3)
    found = QUEUES[0].sojourns(rng, 0.5, 50)
    rng = np.random.default_rng(3)
    before = math.ceil(20 * 2 / 0.25)
    service, gaps = rng.exponential(size=before + 50), rng.exponential(2, before + 50)
    wait, times = 0.0, [float(service[0])]
    for index in range(1, before + 50):
        wait = max(0.0, wait + service[index - 1] - gaps[index])
        times.append(float(wait + service[index]))
    assert found.tolist() == pytest.approx(times[before:])


def test_truth_of_the_exponential_queue() -> None:
    truth = QUEUES[0].truth(0.5)
    assert truth["mean"] == pytest.approx(2)
    assert truth["p50"] == pytest.approx(2 * math.log(2))


def test_runs_have_every_judged_metric_and_its_count() -> None:
    (run,) = verdict.runs(np.random.default_rng(4), 1, 1.0)
    judged = [metric for metric in METRICS if metric.judged]
    assert {metric.path for metric in judged} | {metric.counted for metric in judged} == run.keys()


def test_scatter_inside_and_between_is_as_asked() -> None:
    rng = np.random.default_rng(5)
    logs = np.log([[run[path] for path in TIMES] for run in verdict.runs(rng, 4000, 3.0)])
    assert logs[:, 0].std() == pytest.approx(SCATTER * math.sqrt(1 + 9), rel=0.05)
    inside = (logs[:, 0] - logs[:, 1]).std()
    assert inside == pytest.approx(SCATTER, rel=0.05)  # a half of twice the variance is shared


@pytest.mark.parametrize("scatter", [0.005, 0.03])
def test_the_slower_arm_is_so_by_5_percent_with_that_scatter(scatter: float) -> None:
    figures = verdict.slower(np.random.default_rng(6), 3000, scatter)
    deltas = np.log([a[SLOWER] / b[SLOWER] for a, b in zip(figures["a"], figures["b"], strict=True)])
    assert deltas.mean() == pytest.approx(math.log(1.05), abs=4 * scatter / math.sqrt(3000))
    assert deltas.std() == pytest.approx(scatter, rel=0.05)


def test_a_stop_is_the_first_look_that_tells_apart() -> None:
    rng = np.random.default_rng(7)
    for _ in range(10):
        figures = verdict.slower(rng, 8, 0.01)
        told, at = verdict.stop(figures, 8)
        looks = [
            told_apart(compare("b", {arm: runs[:n] for arm, runs in figures.items()}, alpha_of(n, 8)))
            for n in range(3, at + 1)
        ]
        assert looks == [False] * (len(looks) - 1) + [told]
        assert told or at == 8


def test_tables_are_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    verdict.false_verdicts(4, 1)
    verdict.power(4, 1)
    verdict.sequential(4, 1)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 5 + 5 + 10
    assert all(row.count("|") == 5 for row in rows)
    monkeypatch.setattr(verdict, "QUEUES", QUEUES[:1])
    verdict.coverage(3, 1)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1:4] for row in rows[:2]] == [
        [" M/M/1 ", " 0.3 ", " 1 000 "],
        [" M/M/1 ", " 0.3 ", " 5 000 "],
    ]
    assert all(row.count("|") == 8 for row in rows)


@pytest.mark.parametrize(
    ("share", "held", "there", "words"),
    [
        (0.98, 95, 100, "95.0 % of 98 %"),
        (0.02, 5, 20, "too short (2.0 % given, 1.5 % miss)"),
        (0.0, 0, 0, "too short (0.0 % given, 0.0 % miss)"),
    ],
)
def test_cells(share: float, held: int, there: int, words: str) -> None:
    assert verdict._cell(share, held, there) == words


def test_scatter_of_identical_arms_by_hand() -> None:
    values = {
        "a": {"ttft.p90": [1.0, 2.0, 4.0], "outcomes.ok": [1.0, 0.9, 1.0], "e2e.p90": [None, 1.0, 1.0]},
        "b": {"ttft.p90": [1.0, 1.0, 1.0], "outcomes.ok": [1.0, 1.0, 1.0], "e2e.p90": [1.0, 1.0, 1.0]},
    }
    found = scatter({"values": values})
    assert found == {
        "ttft.p90": pytest.approx(math.log(2)),
        "outcomes.ok": pytest.approx(math.sqrt(0.02 / 6)),
    }
