"""Before a run: is the target there, does its TLS hold, does it know the models of the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic

import msgspec

from kit.console import complain
from loadgen.client.answers import error_text
from loadgen.client.connection import Pool
from loadgen.client.fetch import Fetched, fetch
from loadgen.client.target import Target
from loadgen.errors import TargetError
from loadgen.numbers.jsonl import NO_JSON

RETRY_EVERY = 0.1
TELL_AFTER = 1.0  # seconds of waiting after which the user hears of it


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Readiness:
    """A target that answers: the models it lists (None: it has no list), how long it was waited for."""

    models: list[str] | None
    waited: float
    note: str | None = None


async def wait_ready(
    target: Target, models: Collection[str], timeout: float, headers: dict[str, str] | None = None
) -> Readiness:
    """Ask /v1/models until it answers; TargetError when it does not, or lacks one of `models`."""
    loop = asyncio.get_running_loop()
    pool = Pool(loop, target)
    begin = monotonic()
    told = False
    try:
        while True:
            answer = await fetch(pool, target, "/v1/models", headers=headers)
            waited = monotonic() - begin
            if answer.outcome == "ok" and answer.status < 500:
                return _judge(target, models, answer, waited)
            if (answer.error or "").startswith("TLS"):
                raise TargetError(f"{target.url}: {answer.error}{_tls_hint(answer.error or '')}")
            if waited >= timeout:
                raise TargetError(_unready(target, answer, timeout))
            if not told and waited >= TELL_AFTER:
                told = True
                complain(f"waiting up to {timeout:g} s for {target.url}")
            await asyncio.sleep(RETRY_EVERY)
    finally:
        pool.close()


def _tls_hint(error: str) -> str:
    certificate = "certificate" in error
    return " (give the CA with --ca, or --insecure to take any certificate)" if certificate else ""


def _unready(target: Target, answer: Fetched, timeout: float) -> str:
    if answer.outcome == "ok":
        words = error_text(answer.body) or "no words"
        return f"{target.url} is not ready after {timeout:g} s: /v1/models answers {answer.status}: {words}"
    scheme = "" if target.tls else " (an https server? then say https://)"
    hint = scheme if answer.outcome in ("reset", "stream_truncated") else ""
    return (
        f"{target.url} cannot be reached, tried for {timeout:g} s: "
        f"{answer.error or answer.outcome} at {target.address}:{target.port}{hint}"
    )


def _judge(target: Target, models: Collection[str], answer: Fetched, waited: float) -> Readiness:
    if answer.status in (401, 403):
        raise TargetError(
            f"{target.url} answers {answer.status} to /v1/models: "
            "give the class `headers: {authorization: Bearer ...}` (or --header)"
        )
    try:
        served = [model.id for model in msgspec.json.decode(answer.body, type=_ModelList).data]
    except NO_JSON:
        note = f"/v1/models answers {answer.status} without a list: model names are not checked"
        return Readiness(None, waited, note)
    unknown = sorted(set(models) - set(served))
    if unknown and answer.status == 200:
        raise TargetError(f"{target.url} does not serve {', '.join(unknown)}; it lists {', '.join(served)}")
    return Readiness(served, waited)
