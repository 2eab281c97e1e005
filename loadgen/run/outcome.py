"""From an exchange that ended to its record; and how long a retry waits."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime

from loadgen.client.exchange import Exchange
from loadgen.client.tokens import NO_TOKENS, TokenMoments, token_moments
from loadgen.plan.plan import RetryPlan
from loadgen.records.records import Attempt, Odd, Record
from loadgen.run.jobs import Job

# Headers that have a field of their own or say the same thing on each line.
HEADERS_APART = frozenset(
    {"x-inference-pod", "x-inference-port", "x-inference-namespace", "content-type", "server", "location"}
)


NOTHING_ODD = Odd()


def relative(moment: float | None, t0: float) -> float | None:
    """Seconds after t0, to a tenth of a microsecond."""
    return None if moment is None else round(moment - t0, 7)


def relative_times(moments: list[float], t0: float) -> list[float]:
    """Seconds after t0 to a microsecond; tokens of one read share their moment and its rounding."""
    result: list[float] = []
    last, value = -1.0, 0.0
    for moment in moments:
        if moment != last:
            last, value = moment, round(moment - t0, 6)
        result.append(value)
    return result


def attempt_of(exchange: Exchange, t0: float) -> Attempt:
    """One try, for the record's list of attempts."""
    return Attempt(
        start=round(exchange.start - t0, 7),
        connected=relative(exchange.connected, t0),
        first_byte=relative(exchange.first_byte, t0),
        end=relative(exchange.end, t0),
        outcome=exchange.outcome,
        status=exchange.status,
        error=exchange.error,
        pod=exchange.headers.get("x-inference-pod"),
        retry_after=retry_after_seconds(exchange.headers.get("retry-after")),
    )


def record_of(job: Job, exchange: Exchange, t0: float, worker: int, *, keep_times: bool) -> Record:
    """The record of a request whose last attempt has ended."""
    request, reader, usage = job.request, exchange.reader, exchange.usage
    headers = exchange.headers
    attempts = job.attempts if len(job.attempts) > 1 else []
    kept = {key: value for key, value in headers.items() if key not in HEADERS_APART}
    if exchange.outcome == "gateway_503" and "server" in headers:
        kept["server"] = headers["server"]
    prompt, output, cached = usage.counts() if usage is not None else (None, None, None)
    moments = token_moments(reader, output, exchange.first_byte) if reader is not None else NO_TOKENS
    times = relative_times(moments.times, t0) if keep_times and moments.times is not None else None
    return Record(
        id=job.id,
        cls=request.cls,
        stage=request.stage,
        intended=round(job.intended - t0, 7),
        start=attempts[0].start if attempts else round(exchange.start - t0, 7),
        connected=relative(exchange.connected, t0),
        sent=relative(exchange.sent, t0),
        first_byte=relative(exchange.first_byte, t0),
        opening=relative(moments.opening, t0),
        first_token=relative(moments.first, t0),
        first_content=relative(moments.content, t0),
        last_token=relative(moments.last, t0),
        end=relative(exchange.end, t0),
        outcome=exchange.outcome,
        status=exchange.status,
        error=exchange.error,
        model=request.model,
        adapter=request.adapter,
        prompt_tokens=prompt,
        cached_tokens=cached,
        output_tokens=output if output is not None else moments.seen,
        max_tokens=request.max_tokens,
        pod=headers.get("x-inference-pod"),
        port=headers.get("x-inference-port"),
        namespace=headers.get("x-inference-namespace"),
        answer_id=exchange.answer_id,
        headers=kept,
        group=request.group,
        session=request.session,
        turn=request.turn,
        worker=worker,
        attempt=max(1, len(job.attempts)),
        attempts=attempts,
        chunk_times=times,
        odd=_odd(exchange, moments, counted=output is not None),
        reused=exchange.reused,
        resent=exchange.resent,
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
    )


def _odd(exchange: Exchange, moments: TokenMoments, *, counted: bool) -> Odd | None:
    """What the answer lacks that its figures need."""
    reader, ok = exchange.reader, exchange.outcome == "ok"
    unread = reader.unread if reader is not None else 0
    if not ok and not unread:
        return None
    odd = Odd(
        uncounted=ok and not counted,
        whole=ok and exchange.stream and reader is None,
        silent=ok and reader is not None and moments.first is None,
        unread=unread,
    )
    return None if odd == NOTHING_ODD else odd


def retry_after_seconds(value: str | None) -> float | None:
    """Retry-After (RFC 9110 10.2.3) in seconds from this moment; what is neither form counts as absent."""
    if value is None:
        return None
    try:
        seconds = _seconds(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()


def retry_delay(retry: RetryPlan, attempts: list[Attempt], jitter: float) -> float:
    """Seconds to wait after the attempts so far; `jitter` in [0, 1) spreads them."""
    asked = attempts[-1].retry_after
    if retry.retry_after and asked is not None:
        return asked
    try:
        grown = float(retry.backoff * retry.factor ** (len(attempts) - 1))
    except OverflowError:  # a thousand doublings and more
        grown = math.inf
    delay = min(retry.max_backoff, grown)
    return delay * (1 + retry.jitter * (2 * jitter - 1))
