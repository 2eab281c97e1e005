"""A director over a pool that the test describes; no sockets."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.picker.compat import GIE_V12, Compat
from gateway.picker.config import parse_config
from gateway.picker.decisions import DecisionLog
from gateway.picker.director import Director, Incoming, Routed
from gateway.picker.errors import RequestError
from gateway.picker.plugins.builtin import BUILTIN
from gateway.picker.plugins.loader import Loader
from gateway.picker.pool.datastore import Datastore
from gateway.picker.pool.endpoints import EndpointMetrics
from gateway.picker.pool.exposition import PickerMetrics
from gateway.picker.pool.inflight import InflightLoad
from tests.gateway.picker.factories import config, endpoint

CHART = config(
    "{type: queue-scorer}",
    "{type: kv-cache-utilization-scorer}",
    "{type: prefix-cache-scorer}",
    rest="""\
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
""",
)


class Lab:
    def __init__(
        self,
        text: str,
        compat: Compat = GIE_V12,
        log: Path | None = None,
        *,
        brief: bool = False,
        **options: Any,
    ) -> None:
        self.store = Datastore("pool", "ns")
        self.metrics = PickerMetrics(compat)
        self.inflight = InflightLoad()
        rng = random.Random(5)
        loaded = Loader(compat, BUILTIN, rng, self.inflight, lambda _: None).load(parse_config(text, compat))
        self.director = Director(
            compat,
            self.store,
            loaded,
            inflight=self.inflight,
            metrics=self.metrics,
            rng=rng,
            decisions=DecisionLog(str(log), brief=brief) if log else None,
            **options,
        )

    def pool(self, **metrics: Mapping[str, Any]) -> None:
        """Endpoints a, b, ... with fresh metrics."""
        now = time.monotonic()
        self.store.replace([endpoint(name, host) for host, name in enumerate(metrics, 2)])
        for place in self.store.endpoints:
            place.metrics = EndpointMetrics(**{"updated_at": now, **metrics[place.name]})

    def send(
        self,
        prompt: str = "x",
        *,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Routed:
        raw = json.dumps({"model": "m", "prompt": prompt, **body}).encode()
        return self.director.handle(Incoming(dict(headers or {}), raw, metadata or {}, time.monotonic()))

    def refused(self, **how: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.send(**how)
        return caught.value
