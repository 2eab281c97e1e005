"""Single requests outside the load: readiness, scrapes, control calls; over connections as the load's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from loadgen.client.exchange import Exchange
from loadgen.client.wire import Wire


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, or why there is none: `outcome` is "ok" when a whole answer came, whatever its status."""

    outcome: str
    status: int
    body: bytes
    headers: dict[str, str]
    error: str | None
    took: float


class _Whole(Exchange):
    """An exchange whose body is kept and not judged."""

    __slots__ = ()

    def on_head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers

    def _classify(self) -> None:
        self.outcome = "ok"


async def fetch(
    pool: Wire,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    timeout: float = 5.0,
) -> Fetched:
    """One request; never raises for what the network does."""
    fields = {"user-agent": "loadgen", "accept": "*/*", **(headers or {})}
    payload = pool.render(path, fields, body, method)
    done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()

    def finished(exchange: Exchange) -> None:
        if not done.done():
            done.set_result(exchange)

    start = monotonic()
    pool.submit(_Whole(payload, finished, timeout=timeout))
    exchange = await done
    return Fetched(
        outcome=exchange.outcome,
        status=exchange.status or 0,
        body=b"".join(exchange.body),
        headers=exchange.headers,
        error=exchange.error,
        took=monotonic() - start,
    )
