"""What the routes need of a replica in ready-made form, made once: `Replica.prepared`.

Also the set of generations in flight, for those who end them from outside (shutdown, faults).
"""

from __future__ import annotations

import hashlib
import os
import random
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from simulator.config.bodies import Keys
from simulator.config.compat import Compat, compat
from simulator.config.serve import ServeConfig
from simulator.server.answers.kept.store import ResponseStore
from simulator.server.faults import Faults
from simulator.server.http.auth import KeyGuard
from simulator.server.http.cors import Cors
from simulator.server.http.templates import BodyTemplate
from simulator.server.http.writer import Rounds, header_lines
from simulator.server.inflight import InFlight
from simulator.server.turns import Turns

Pair = tuple[bytes, bytes]
_VARY = (b"vary", b"Origin")
_JSON = (b"content-type", b"application/json")
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_HEX16_MASK = (1 << 62) - 1
_HEX16_BITS = 1 << 63  # vLLM keeps the half of a UUID4 that begins with the variant bits 10

_encode = msgspec.json.Encoder().encode


class Prepared:
    """What one replica answers with: compatibility, headers, names, ids, faults and generations in flight."""

    __slots__ = (
        "_content",
        "_sequence",
        "active",
        "compat",
        "config",
        "cors",
        "faults",
        "fingerprint",
        "guard",
        "inference_headers",
        "json_headers",
        "plain_headers",
        "responses",
        "rounds",
        "served",
        "stream_headers",
        "templates",
    )  # fmt: skip

    def __init__(self, config: ServeConfig, port: int, turns: Turns) -> None:
        self.config = config
        self.compat: Compat = compat(config.compat)
        self.guard = KeyGuard(config)
        self.cors = Cors(config)
        self.faults = Faults.from_config(config.faults)
        self.served = config.served_model_names
        self.fingerprint = _fingerprint(config, self.compat)
        self.active: set[InFlight] = set()
        self.inference_headers = _inference_headers(config, port)
        self.rounds = Rounds(turns)
        self.templates: dict[tuple[str, str], BodyTemplate] = {}  # (kind of answer, model) -> its bytes
        self.responses = ResponseStore() if config.responses_store else None
        self._content: random.Random | None = None
        self._sequence = 0
        base = (_VARY, *self.inference_headers)
        self.json_headers = header_lines((_JSON, *base))
        self.plain_headers = header_lines((_PLAIN, *base))
        self.stream_headers = header_lines((_EVENTS, *base))

    def new_id(self) -> str:
        """The random part of an answer's id, in the imitated server's form."""
        if self.compat.id_style == "hex16":
            return f"{int.from_bytes(os.urandom(8)) & _HEX16_MASK | _HEX16_BITS:016x}"
        made = uuid.uuid4()
        return made.hex if self.compat.id_style == "hex32" else str(made)

    def random_for(self, seed: int | None) -> random.Random:
        """What a request draws invented content from: its own seed's generator, or the replica's."""
        if seed is not None:
            return random.Random(seed)
        if self._content is None:  # most replicas invent nothing, and a generator has 2.5 kB
            self._content = random.Random(self.config.seed)
        return self._content

    def next_sequence(self) -> int:
        """A number that no other sequence of this replica has; clients may repeat request ids."""
        self._sequence += 1
        return self._sequence

    def encode(self, value: Any) -> bytes:
        """Compact JSON; with Go's escapes where a Go server is imitated."""
        data: bytes = _encode(value)
        if self.compat.go_json:
            data = data.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
        return data


def ordered(keys: Keys, values: Mapping[str, Any], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """`values` in the order of `keys`: null where there is none, nothing where the key is optional."""
    return {key: values.get(key) for key in keys if key in values or key not in optional}


def _inference_headers(config: ServeConfig, port: int) -> tuple[Pair, ...]:
    headers = []
    if config.pod_name:
        headers.append((b"x-inference-pod", config.pod_name.encode("latin-1", "replace")))
        headers.append((b"x-inference-port", str(port).encode()))
    if config.pod_namespace:
        headers.append((b"x-inference-namespace", config.pod_namespace.encode("latin-1", "replace")))
    return tuple(headers)


def _fingerprint(config: ServeConfig, behaviour: Compat) -> str | None:
    """system_fingerprint: version and eight digits of the configuration."""
    if not behaviour.fingerprint or config.fingerprint_mode == "none":
        return None
    if config.fingerprint_value is not None:
        return config.fingerprint_value
    digest = hashlib.sha256(repr((config.model, config.engine)).encode()).hexdigest()[:8]
    return f"vllm-{behaviour.version}-{digest}"
