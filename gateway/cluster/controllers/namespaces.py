"""Namespaces: what every one of them has, and how one ends with all that is in it."""

from __future__ import annotations

from typing import Any

from gateway.cluster.controllers.common import ending
from gateway.cluster.objects.errors import ApiError
from gateway.cluster.objects.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT
from gateway.cluster.objects.state import State
from gateway.cluster.objects.writes import Deletion

Object = dict[str, Any]
FIRST = ("default", "kube-node-lease", "kube-public", "kube-system")
ISTIO_NAMESPACE = "istio-system"
ROOT_CERTIFICATES = "kube-root-ca.crt"


class Namespaces:
    def __init__(self, state: State, authority: str = "") -> None:
        self._state = state
        self._authority = authority

    def make_first(self) -> None:
        for name in FIRST:
            self.make(name)

    def make(self, name: str) -> None:
        """Unless it is there."""
        if self._state.get(NAMESPACE, "", name) is None:
            self._state.create(self._state.served("v1", "Namespace"), "", {"metadata": {"name": name}})

    def run(self) -> None:
        for namespace in self._state.list(NAMESPACE):
            if ending(namespace):
                self._end(namespace)
            else:
                self._furnish(namespace["metadata"]["name"])

    def _furnish(self, name: str) -> None:
        if self._state.get(SERVICE_ACCOUNT, name, "default") is None:
            served = self._state.served("v1", "ServiceAccount")
            self._state.create(served, name, {"metadata": {"name": "default"}})
        if self._state.get(CONFIG_MAP, name, ROOT_CERTIFICATES) is None:
            body = {"metadata": {"name": ROOT_CERTIFICATES}, "data": {"ca.crt": self._authority}}
            self._state.create(self._state.served("v1", "ConfigMap"), name, body)

    def _end(self, namespace: Object) -> None:
        """Delete what is left in it; it goes once nothing is."""
        name = namespace["metadata"]["name"]
        left = 0
        seen = set()
        for served in self._state.registry:
            if not served.kind.namespaced or served.kind in seen:
                continue
            seen.add(served.kind)
            for obj in self._state.list(served.kind, name):
                if not ending(obj):
                    try:
                        self._state.delete(served, name, obj["metadata"]["name"], Deletion())
                    except ApiError:
                        continue  # gone meanwhile
            left += len(self._state.list(served.kind, name))
        if left == 0:
            spec = {**namespace.get("spec", {}), "finalizers": []}
            self._state.change(NAMESPACE, namespace, spec=spec)
