"""InferenceModelRewrite and InferenceObjective beside a real picker: they act, as in a cluster."""

from __future__ import annotations

import httpx
import pytest

from gateway.stack.pickers.go import Binary
from tests.e2e.epp.conftest import page, start
from tests.e2e.labkit import Labs, completion
from tests.waiting import until

pytestmark = pytest.mark.epp
NAMES = "namespace: inference-model-server"
POOL = "poolRef: {name: inference-model-server-pool, group: inference.networking.k8s.io}"
OBJECTS = f"""
apiVersion: GROUP/v1alpha2
kind: InferenceModelRewrite
metadata: {{name: alias, {NAMES}}}
spec:
  {POOL}
  rules:
  - matches: [{{model: {{type: Exact, value: my-alias}}}}]
    targets: [{{modelRewrite: reviews-1}}]
---
apiVersion: GROUP/v1alpha2
kind: InferenceObjective
metadata: {{name: low, {NAMES}}}
spec:
  priority: -7
  {POOL}
"""
OLD, NEW = "inference.networking.x-k8s.io", "llm-d.ai"


@pytest.mark.parametrize("group", [OLD, NEW])
def test_rewrites_and_objectives_act(labs: Labs, epp: Binary, group: str) -> None:
    if group == NEW and not epp.is_router:
        pytest.skip("objects of llm-d.ai are llm-d-router's")
    files = [word for path in page() for word in ("-f", str(path))]
    objects = labs.manifests(OBJECTS.replace("GROUP", group), "objects.yaml")
    lab = start(labs, epp, *files, "-f", objects, name=f"objects{group == NEW:d}").lab
    try:
        asked = {**completion(), "model": "my-alias"}
        headers = {"x-gateway-inference-objective": "low"}

        def answer() -> httpx.Response:
            return httpx.post(f"{lab.url}/v1/completions", json=asked, headers=headers, timeout=10)

        until(lambda: answer().status_code == 200, 10.0, "the picker's knowing of the rewrite")
        told = answer().json()
        assert told["model"] == ("my-alias" if epp.is_router else told["model"])
        assert 'priority="-7"' in httpx.get(lab.picker["metrics_url"], timeout=10).text
    finally:
        lab.down()
