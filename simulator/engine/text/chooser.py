"""Which random generator decides over a request.

- `seed` in the request: decided by that seed, the prompt, the adapter and the choice index, on any replica;
- temperature 0: decided by the prompt and the adapter alone, as greedy decoding would;
- else: drawn from the server's generator, which starts at the server's seed.
"""

from __future__ import annotations

import zlib
from random import Random

from simulator.engine.request import Request


def fingerprint(request: Request) -> int:
    """A number that stands for prompt and adapter, at a cost that does not grow with the prompt."""
    ids = request.prompt_token_ids
    adapter = zlib.crc32(request.lora.name.encode()) if request.lora else 0
    return hash((len(ids), adapter, *ids[:32], *ids[-64:]))


class Chooser:
    """The random generator that decides a request's answer (see the top of this file)."""

    def __init__(self, seed: int) -> None:
        self._server = Random(seed)
        self._request = Random()

    def generator(self, request: Request) -> Random:
        sampling = request.sampling
        if sampling.seed is not None:
            key = hash((sampling.seed, request.index, fingerprint(request)))
        elif sampling.temperature == 0:
            key = fingerprint(request)
        else:
            return self._server
        self._request.seed(key)
        return self._request
