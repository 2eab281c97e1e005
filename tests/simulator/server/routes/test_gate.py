"""Who is let in, and as what: faults, names, limits, ranks, thresholds, load headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from simulator.server.errors import ApiError
from simulator.server.routes.gate import resolve_model
from tests.simulator.server.pods import Pod, pod
from tests.simulator.steps import FLAT_20_MS

LONG = {"model": "m", "prompt": [5] * 40, "max_tokens": 3000, "ignore_eos": True}
SLOW = ("--latency", "step", "--step-model", FLAT_20_MS, "--max-num-seqs", "1")


@pytest.mark.parametrize(
    ("value", "status", "kind", "words"),
    [
        ("400", 400, "BadRequestError", "Simulated error triggered by X-Return-Error header (code 400)"),
        ("401", 401, "AuthenticationError", "(code 401)"),
        ("403", 403, "PermissionDeniedError", "(code 403)"),
        ("404", 404, "NotFoundError", "(code 404)"),
        ("418", 418, "APIConnectionError", "(code 418)"),
        ("422", 422, "UnprocessableEntityError", "(code 422)"),
        ("429", 429, "RateLimitError", "(code 429)"),
        ("500", 500, "InternalServerError", "(code 500)"),
        ("599", 599, "InternalServerError", "(code 599)"),
        ("200", 400, "BadRequestError", "Invalid X-Return-Error header value 200: must be from 400 to 599"),
        ("600", 400, "BadRequestError", "Invalid X-Return-Error header value 600: must be from 400 to 599"),
        (
            "teapot",
            400,
            "BadRequestError",
            'Invalid X-Return-Error header value "teapot": must be an integer',
        ),
    ],
)
def test_errors_on_demand(value: str, status: int, kind: str, words: str) -> None:
    with pod() as one:
        for path, body in (
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}),
            ("/v1/responses", {"input": "x"}),
        ):
            answer = one.post(path, body, x_return_error=value)
            assert (answer.status, answer.error["type"], answer.error["code"]) == (status, kind, status)
            assert answer.message.endswith(words)


@pytest.mark.parametrize("stream", [False, True])
def test_injected_failures_name_the_model_that_was_asked_for(stream: bool) -> None:
    with pod("--failure-injection-rate", "100", "--failure-types", "rate_limit") as one:
        answer = one.complete(stream=stream)
        assert answer.status == 429
        assert answer.message.startswith("Rate limit reached for m in organization")
        other = one.post("/v1/completions", {"model": "else", "prompt": "x"})
        assert other.message.startswith("Rate limit reached for else in")
        nameless = one.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
        assert nameless.message.startswith("Rate limit reached for m in")


NAMES = ("--served-model-name", "m", "alias", "--enable-lora", "--lora-modules", "a=/a")


def test_names_that_are_served() -> None:
    with pod(*NAMES) as one:
        replica = one.replica
        assert resolve_model(replica, None) == resolve_model(replica, "") == ("m", None)
        assert resolve_model(replica, "alias") == ("m", None)  # answers carry the first name, as vLLM's do
        name, lora = resolve_model(replica, "a")
        assert lora is not None
        assert (name, lora.name, lora.path) == ("a", "a", "/a")


@pytest.mark.parametrize(
    ("version", "error"),
    [
        ("vllm-0.33", ("The model `b` does not exist. Valid aliases: m, alias.", "model")),
        ("vllm-0.11", ("The model `b` does not exist.", None)),
        ("llm-d-0.7", ("The model `b` does not exist.", None)),
    ],
)
def test_names_that_nobody_serves(version: str, error: tuple[str, str | None]) -> None:
    with pod(*NAMES, "--compat", version) as one:
        for path, more in (("/v1/completions", {"prompt": "x"}), ("/tokenize", {"prompt": "x"})):
            answer = one.post(path, {"model": "b", **more})
            assert (answer.status, answer.error["type"]) == (404, "NotFoundError")
            assert (answer.message, answer.error["param"]) == error


def test_llmd_wants_a_name() -> None:
    with pod("--compat", "llm-d-0.7") as one, pytest.raises(ApiError, match="The model `` does not exist"):
        resolve_model(one.replica, None)


def hold(one: Pod, *asked: dict[str, Any], then: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Send `asked` one after the other, each once the last is in; then `then`; then abort what is left."""

    async def main() -> tuple[Any, list[Any]]:
        held = []
        for i, body in enumerate(asked, 1):
            held.append(asyncio.create_task(one.asking("POST", "/v1/completions", body)))
            while one.replica.driver.num_unfinished < i or not one.replica.engine.stats.num_requests_running:
                await asyncio.sleep(0)
        answer = await one.asking("POST", "/v1/completions", then)
        await one.asking("POST", "/abort_requests", raw=b"{}")
        return answer, await asyncio.gather(*held)

    return one.run(main())


DEV = {"VLLM_SERVER_DEV_MODE": "1"}


def test_a_full_queue_is_503_and_counted() -> None:
    with pod(*SLOW, "--max-num-queued-reqs", "1", env=DEV) as one:
        answer, held = hold(one, LONG, LONG, then=LONG)
        assert (answer.status, answer.error["type"]) == (503, "Service Unavailable")
        assert answer.message.startswith("The engine is currently busy and cannot accept new requests.")
        assert [one.json()["choices"][0]["finish_reason"] for one in held] == ["abort", "abort"]
        assert one.replica.exposition.rejections == {"max_num_queued_reqs": 1, "max_num_queued_tokens": 0}
        assert one.complete(max_tokens=1).status == 200


def test_llmds_full_queue_is_429_with_advice() -> None:
    flags = ("--compat", "llm-d-0.7", "--max-model-len", "4000", "--max-waiting-queue-length", "1")
    with pod(*SLOW, *flags, env=DEV) as one:
        answer, _ = hold(one, LONG, LONG, then={**LONG, "stream": True})
        assert (answer.status, answer.error["type"], answer.headers["retry-after"]) == (
            429,
            "RateLimitError",
            "1",
        )
        assert answer.message == "Failed to enqueue request, waiting requests queue is full"


@pytest.mark.parametrize(("prompt", "status"), [([7] * 10, 200), ([7] * 11, 503), ([[7] * 6, [7] * 5], 503)])
def test_queued_tokens_have_a_limit(prompt: Any, status: int) -> None:
    """40 tokens wait already; 50 may."""
    with pod(*SLOW, "--max-num-queued-tokens", "50", env=DEV) as one:
        waiting = {**LONG, "max_tokens": 1}

        async def main() -> Any:
            tasks = [asyncio.create_task(one.asking("POST", "/v1/completions", LONG))]
            while not one.replica.engine.stats.num_requests_running:
                await asyncio.sleep(0)
            for body in (waiting, {"model": "m", "prompt": prompt, "max_tokens": 1}):
                tasks.append(asyncio.create_task(one.asking("POST", "/v1/completions", body)))
                while one.replica.driver.num_unfinished < len(tasks) and not tasks[-1].done():
                    await asyncio.sleep(0)
            await one.asking("POST", "/abort_requests", raw=b"{}")
            return (await asyncio.gather(*tasks))[-1]

        answer = one.run(main())
        assert answer.status == status
        assert one.replica.exposition.rejections["max_num_queued_tokens"] == (status == 503)


def test_nobody_is_let_in_while_paused() -> None:
    with pod(env=DEV) as one:
        assert one.post("/pause").json() == {"status": "paused"}
        answer = one.chat(max_tokens=1)
        assert (answer.status, answer.error["type"]) == (503, "ServiceUnavailableError")
        assert answer.message == "Generation is paused. Please retry after it resumes."
        one.post("/resume")
        assert one.chat(max_tokens=1).status == 200


@pytest.mark.parametrize(("header", "rank"), [("0", 0), ("1", 1), ("x", 0), ("", 0)])
def test_a_header_picks_the_rank(header: str, rank: int) -> None:
    with pod(ranks=2) as one:
        body = {"model": "m", "prompt": "x", "max_tokens": 2, "ignore_eos": True}
        assert one.post("/v1/completions", body, x_data_parallel_rank=header).status == 200
        counts = [replica.engine.stats.generation_tokens for replica in one.replicas]
        assert counts == [2, 0] if rank == 0 else [0, 2]


@pytest.mark.parametrize("header", ["2", "-1", "99"])
def test_ranks_that_there_are_not(header: str) -> None:
    with pod(ranks=2) as one:
        answer = one.post("/v1/completions", {"model": "m", "prompt": "x"}, x_data_parallel_rank=header)
        assert (answer.status, answer.message) == (
            400,
            f"data_parallel_rank {header} is out of range [0, 2).",
        )


PROMPT = [7] * 64  # four blocks, of which a warm cache holds three: the last token is always computed


@pytest.mark.parametrize(
    ("flags", "fields", "finish"),
    [
        ((), {}, "length"),
        ((), {"cache_hit_threshold": 0.75}, "length"),
        ((), {"cache_hit_threshold": 0.8}, "cache_threshold"),
        ((), {"cache_hit_threshold": 1.5}, "length"),
        ((), {"cache_hit_threshold": -1}, "length"),
        (("--global-cache-hit-threshold", "0.8"), {}, "cache_threshold"),
        (("--global-cache-hit-threshold", "0.8"), {"cache_hit_threshold": 0.5}, "length"),
        (("--global-cache-hit-threshold", "0.8"), {"cache_hit_threshold": 0}, "length"),
        (("--global-cache-hit-threshold", "0.8", "--no-enable-prefix-caching"), {}, "length"),
    ],
)
def test_too_cold_caches_answer_without_tokens(
    flags: tuple[str, ...], fields: dict[str, Any], finish: str
) -> None:
    with pod("--block-size", "16", *flags) as one:
        warm = {"max_tokens": 1, "ignore_eos": True}
        one.complete(PROMPT, **warm, cache_hit_threshold=0)
        answer = one.complete(PROMPT, **warm, **fields).json()
        assert answer["choices"][0]["finish_reason"] == finish
        assert answer["usage"]["completion_tokens"] == (1 if finish == "length" else 0)


@pytest.mark.parametrize(
    ("value", "finish"), [("true", "cache_threshold"), ("1", "cache_threshold"), ("no", "length")]
)
def test_a_header_asks_for_that_finish(value: str, finish: str) -> None:
    with pod() as one:
        body = {"model": "m", "prompt": "x", "max_tokens": 1, "ignore_eos": True}
        answer = one.post("/v1/completions", body, x_cache_threshold_finish_reason=value).json()
        assert answer["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("stream", [False, True])
def test_load_stands_in_a_header_on_request(stream: bool) -> None:
    body = {"model": "m", "prompt": "x", "max_tokens": 1, "stream": stream}
    with pod() as one:
        one.replica.engine.stats.kv_cache_usage = 0.25
        plain = one.post("/v1/completions", body, endpoint_load_metrics_format="TEXT")
        assert plain.headers["endpoint-load-metrics"] == (
            "TEXT named_metrics.num_requests_waiting=0.0, named_metrics.kv_cache_usage_perc=0.25"
        )
        for value in ("xml", ""):
            other = one.post("/v1/completions", body, endpoint_load_metrics_format=value)
            assert "endpoint-load-metrics" not in other.headers
        kind, _, data = (
            one.post("/v1/completions", body, endpoint_load_metrics_format=" json ")
            .headers["endpoint-load-metrics"]
            .partition(" ")
        )
        assert kind == "JSON"
        assert set(json.loads(data)["named_metrics"]) == {"num_requests_waiting", "kv_cache_usage_perc"}
