"""--enable-log-requests: one line for each request that a generating route has run."""

from __future__ import annotations

import time
from typing import Any

from simulator.server.answers.generation import Generation
from simulator.server.logs import event


def log_request(generation: Generation) -> None:
    """Log what was asked and what came of it; with --enable-log-outputs also what was said."""
    job, exchange = generation.job, generation.exchange
    fields: dict[str, Any] = {
        "id": job.answer_id,
        "model": job.model,
        "stream": job.stream,
        "status": exchange.status,
        "prompt_tokens": generation.prompt_tokens,
        "output_tokens": generation.completion_tokens,
        "cached_tokens": generation.cached_tokens,
        "finish": ",".join(str(s.finish_reason or "left") for s in generation.sequences),
        "seconds": round(time.monotonic() - exchange.arrival, 6),
    }
    if generation.replica.config.enable_log_outputs:
        decode = generation.replica.tokenizer.decode
        fields["output"] = [decode(s.request.output_token_ids) for s in generation.sequences]
    event("request", **fields)
