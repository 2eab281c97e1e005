"""Before a run: is the target there, does its TLS hold, does it know the models of the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from kit.console import complain
from loadgen.client.answers.refusals import error_text
from loadgen.client.dial import WRONG
from loadgen.client.exchange import BROKEN, redirect_words
from loadgen.client.fetch import Fetched, fetch
from loadgen.client.target import Target, parse_target
from loadgen.client.urls import without_user
from loadgen.client.wire import open_wire
from loadgen.errors import TargetError
from loadgen.numbers.jsonl import NO_JSON
from loadgen.scenario.redaction import Secrets
from loadgen.scenario.scenario import Scenario

RETRY_EVERY = 0.1
ASK_SECONDS = 5.0
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


def way_to(url: str, scenario: Scenario, warn: Callable[[str], None]) -> tuple[Target, str, str]:
    """The target of a run's URL, the URL with its secrets, and what of it may be shown."""
    revealed = scenario.secrets.reveal(url)
    target = parse_target(revealed, scenario.tls)
    for note in notes_on_the_way(revealed, target, scenario.secrets):
        warn(note)
    return target, revealed, without_user(url)


def notes_on_the_way(url: str, target: Target, secrets: Secrets) -> list[str]:
    """What stands between the user's words and the wire; a proxy's key goes to the secrets."""
    notes = []
    if "://" not in url:
        notes.append(f"the target {target.url} has no scheme: taken for http://{target.url}")
    proxy = target.proxy
    if proxy is not None:
        if proxy.authorization is not None:
            secrets.learn_value("proxy-authorization", proxy.authorization)
        around = f"no_proxy={target.host} goes around it"
        notes.append(f"through the environment's proxy {proxy.url} ({around})")
    return notes


async def wait_ready(
    target: Target,
    models: Collection[str],
    timeout: float,
    headers: dict[str, str] | None = None,
    *,
    http2: bool = False,
) -> Readiness:
    """Ask /v1/models until it answers; TargetError when it does not, or lacks one of `models`.

    A server that speaks another protocol is told at once: waiting does not change it.
    """
    wire = open_wire(asyncio.get_running_loop(), target, http2=http2)
    begin = monotonic()
    told = asked = False
    try:
        while True:
            answer = await fetch(wire, "/v1/models", headers=headers, timeout=ASK_SECONDS)
            waited = monotonic() - begin
            if answer.outcome == "ok" and answer.status < 500:
                return _judge(target, models, answer, waited)
            if (answer.error or "").startswith(("TLS", WRONG)):
                raise TargetError(f"{target.url}: {answer.error}{_tls_hint(answer.error or '')}")
            if answer.outcome in (*BROKEN, "timeout") and not asked:
                asked = True
                await _look_for_another(target, headers, http2=http2)
            if waited >= timeout:
                raise TargetError(_unready(target, answer, timeout))
            if not told and waited >= TELL_AFTER:
                told = True
                complain(f"waiting up to {timeout:g} s for {target.url}")
            await asyncio.sleep(RETRY_EVERY)
    finally:
        wire.close()


async def _look_for_another(target: Target, headers: dict[str, str] | None, *, http2: bool) -> None:
    """A server that closes or is silent may speak something else: TargetError when it answers to that."""
    other = msgspec.structs.replace(target, tls=not target.tls, insecure=True, ca=None)
    tries = [(target, "the server speaks HTTP/1.1: leave --http2 out")] if http2 else []
    tries.append(
        (other, f"the server speaks {'plain http: say http' if target.tls else 'TLS: say https'}://")
    )
    for place, words in tries:
        wire = open_wire(asyncio.get_running_loop(), place)
        try:
            answer = await fetch(wire, "/v1/models", headers=headers, timeout=ASK_SECONDS)
        finally:
            wire.close()
        if answer.outcome == "ok":
            raise TargetError(f"{target.url}: {WRONG}{words}")


def _tls_hint(error: str) -> str:
    certificate = "certificate" in error
    return " (give the CA with --ca, or --insecure to take any certificate)" if certificate else ""


def _unready(target: Target, answer: Fetched, timeout: float) -> str:
    if answer.outcome == "ok":
        words = error_text(answer.body) or "no words"
        return f"{target.url} is not ready after {timeout:g} s: /v1/models answers {answer.status}: {words}"
    proxy = target.proxy
    way = f"{target.address}:{target.port}" if proxy is None else f"the proxy {proxy.url}"
    return (
        f"{target.url} cannot be reached, tried for {timeout:g} s: {answer.error or answer.outcome} at {way}"
    )


def _judge(target: Target, models: Collection[str], answer: Fetched, waited: float) -> Readiness:
    if answer.status in (401, 403):
        raise TargetError(
            f"{target.url} answers {answer.status} to /v1/models: "
            "give the class `headers: {authorization: Bearer ...}` (or --header)"
        )
    if 300 <= answer.status < 400:
        return _judge_redirect(target, answer, waited)
    if answer.status == 400 and b"HTTPS" in answer.body.upper() and not target.tls:
        raise TargetError(f"{target.url}: {WRONG}{error_text(answer.body)}: say https://")
    try:
        served = [model.id for model in msgspec.json.decode(answer.body, type=_ModelList).data]
    except NO_JSON:
        note = f"/v1/models answers {answer.status} without a list: model names are not checked"
        return Readiness(None, waited, note)
    unknown = sorted(set(models) - set(served))
    if unknown and answer.status == 200:
        raise TargetError(f"{target.url} does not serve {', '.join(unknown)}; it lists {', '.join(served)}")
    return Readiness(served, waited)


def _judge_redirect(target: Target, answer: Fetched, waited: float) -> Readiness:
    """Another server is another target; another path of this one need not be that of the load."""
    words = redirect_words(answer.status, answer.headers)
    place = urlsplit(answer.headers.get("location", ""))
    here = urlsplit(target.url)
    if place.netloc and (place.scheme, place.netloc) != (here.scheme, here.netloc):
        raise TargetError(f"{target.url} answers to /v1/models: {words}: give that as the target")
    return Readiness(None, waited, f"/v1/models answers {words}: model names are not checked")
