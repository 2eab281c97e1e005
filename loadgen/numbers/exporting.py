"""`--metrics-port`: the client library behind it is loaded where a port is given only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.numbers.exporter import Snapshot


def exporting(
    port: int | None, latest: Callable[[], Snapshot | None]
) -> contextlib.AbstractContextManager[str]:
    """The URL at which the totals of the `latest` snapshot are served meanwhile; "" without a port."""
    if port is None:
        return contextlib.nullcontext("")
    from loadgen.numbers.exporter import serving  # noqa: PLC0415 - few runs need it

    return serving(port, latest)
