"""What can become of a request."""

from __future__ import annotations

OUTCOMES = (
    "ok",  # a complete 2xx answer
    "shed_429",  # rejected before it was served (429 without an eviction reason)
    "ttl_503",  # waited too long in the gateway's queue, or its client context ended there
    "evicted",  # accepted, then thrown out of the gateway's queue
    "rejected_4xx",  # any other 4xx: a bad request, an unknown model
    "upstream_5xx",  # a model server answered 5xx, or an error event in the stream
    "gateway_503",  # the gateway had no endpoint, or its picker failed
    "timeout",  # the client's own timeout, or still running when the run's grace ended
    "reset",  # the connection ended before the answer was complete
    "connect_error",  # no TCP or TLS connection
    "stream_truncated",  # a 200 whose stream ended without its end
    "client_cancel",  # cancelled by the plan after n tokens, or by the end of an interrupted run
    "missed",  # was due and could not be sent by this client
    "skipped",  # a later turn of a session that ended early: was never due
)
# Outcomes that are the gateway's decision under load, to be told apart from errors.
SHEDS = frozenset({"shed_429", "ttl_503", "evicted"})
NOT_SENT = frozenset({"missed", "skipped"})
