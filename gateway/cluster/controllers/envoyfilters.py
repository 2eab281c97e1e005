"""What istiod has to know of this machine, as an EnvoyFilter beside each Gateway."""

from __future__ import annotations

from typing import Any

from gateway.cluster.controllers.common import owner_ref
from gateway.cluster.controllers.gateways import Running
from gateway.cluster.controllers.services import NAME_LABEL
from gateway.cluster.objects.state import State

Object = dict[str, Any]
API_VERSION, KIND = "networking.istio.io/v1alpha3", "EnvoyFilter"


class EnvoyFilters:
    """Keeps them equal to what the gateways that run ask for; with a Gateway its filter goes."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of_gateway(self, gateway: Object, running: Running) -> None:
        """Before its Service, by which istiod begins to send listeners."""
        served = self._state.registry.of_type(API_VERSION, KIND)
        if served is None or not running.patches:
            return
        meta = gateway["metadata"]
        name = f"{meta['name']}-on-this-machine"
        selector = {"labels": {NAME_LABEL: meta["name"]}}
        spec = {"workloadSelector": selector, "configPatches": list(running.patches)}
        found = self._state.get(served.kind, meta["namespace"], name)
        if found is not None:
            self._state.change(served.kind, found, spec=spec)
            return
        body = {"metadata": {"name": name, "ownerReferences": [owner_ref(gateway)]}, "spec": spec}
        self._state.create(served, meta["namespace"], body)
