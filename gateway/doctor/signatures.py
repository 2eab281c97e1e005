"""What the evidence of a failed request is looked at for, each a function of the evidence."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.doctor.evidence import Evidence

Signature = Callable[[Evidence], bool]


def ext_proc(*words: str) -> Signature:
    """The picker's stream failed, and Envoy's details say one of `words`."""

    def test(e: Evidence) -> bool:
        text = f"{e.details} {e.failure}".lower()
        return "ext_proc_error" in text and any(w.lower() in text for w in words)

    return test


def picker_said(status: int, *words: str) -> Signature:
    """An answer of the picker itself: its prefix in the body, and no pod behind it."""

    def test(e: Evidence) -> bool:
        body = e.body.lower()
        prefixed = body.startswith(("inference gateway:", "inference error:"))
        return e.status == status and prefixed and (not words or any(w.lower() in body for w in words))

    return test


def flag(*flags: str) -> Signature:
    return lambda e: bool(set(flags) & set(e.flags.split(",")))


def hosts(e: Evidence) -> list[str]:
    return [h.strip() for h in e.picked.split(",") if h.strip()]


def picked_elsewhere(e: Evidence) -> bool:
    return e.status < 500 and bool(hosts(e)) and bool(e.upstream_host) and e.upstream_host not in hosts(e)


def second_choice(e: Evidence) -> bool:
    return e.upstream_host in hosts(e)[1:] or (picked_elsewhere(e) and e.attempts > 1)


def nobody_picked(e: Evidence) -> bool:
    return 0 < e.status < 400 and e.knows_pick and e.pool_request and not e.picked


def upstream(status: int, pattern: str) -> Signature:
    """An answer of a model server with this in its body."""
    return lambda e: (
        e.status == status
        and e.details in ("", "via_upstream")
        and re.search(pattern, e.body, re.IGNORECASE) is not None
    )
