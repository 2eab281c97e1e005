"""Single requests outside the load: readiness, scrapes, control calls; over connections as the load's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from loadgen.client.connection import Pool
from loadgen.client.exchange import Exchange
from loadgen.client.target import Target


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
    pool: Pool,
    target: Target,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    timeout: float = 5.0,
) -> Fetched:
    """One request; never raises for what the network does."""
    fields = {"host": target.authority, "user-agent": "loadgen", "accept": "*/*", **(headers or {})}
    if body or method not in ("GET", "HEAD"):
        fields["content-length"] = str(len(body))
    head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    payload = f"{method} {target.base_path}{path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
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
