"""A small sound gateway, edits of it, and what lint finds in the result.

A rule's test is a pair: an edit that breaks the rule, with the line marked `# <-` where the finding must point,
and the nearest edit that does not. Both start from WORLD, in which there is nothing to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.errors import ManifestError
from gateway.lint import lint
from gateway.lint.finding import RULES, Finding
from gateway.manifests.load import read
from kit.yamldoc import Document, load_documents

FILE = "world.yaml"
MARK = "# <-"

SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: apps}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      securityContext: {runAsNonRoot: true}
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        args: [--model, base]
        ports:
        - containerPort: 8000
        resources: {requests: {memory: 1Gi}}
        readinessProbe: {httpGet: {path: /ready, port: 8000}}
        livenessProbe: {httpGet: {path: /health, port: 8000}}
"""
POOL = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: pool, namespace: apps}
spec:
  selector:
    matchLabels: {app: server}
  targetPorts:
  - number: 8000
  endpointPickerRef:
    name: epp
    port:
      number: 9002
    failureMode: FailClose
"""
PICKER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: epp, namespace: apps}
spec:
  selector: {matchLabels: {app: epp}}
  template:
    metadata: {labels: {app: epp}}
    spec:
      serviceAccountName: epp
      containers:
      - name: epp
        image: registry.k8s.io/gateway-api-inference-extension/epp:v1.5.0
        args:
        - --pool-name=pool
        - --pool-namespace=apps
        - --config-file=/config/plugins.yaml
        - --tracing=false
        - --metrics-endpoint-auth=false
        ports:
        - {containerPort: 9002}
        - {containerPort: 9090, name: metrics}
        startupProbe: {grpc: {port: 9003}, failureThreshold: 60}
        livenessProbe:
          grpc: {port: 9003, service: liveness}
        volumeMounts:
        - {name: config, mountPath: /config}
      volumes:
      - name: config
        configMap: {name: epp-config}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: epp-config, namespace: apps}
data:
  plugins.yaml: |
    apiVersion: inference.networking.x-k8s.io/v1alpha1
    kind: EndpointPickerConfig
    plugins:
    - type: queue-scorer
    schedulingProfiles:
    - name: default
      plugins:
      - pluginRef: queue-scorer
---
apiVersion: v1
kind: Service
metadata: {name: epp, namespace: apps}
spec:
  selector: {app: epp}
  ports:
  - {name: ext-proc, port: 9002, appProtocol: http2}
  - {name: prom, port: 9090, targetPort: metrics}
"""
RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: epp, namespace: apps}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: epp, namespace: apps}
rules:
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch]
- apiGroups: [inference.networking.x-k8s.io]
  resources: [inferenceobjectives, inferencemodelrewrites]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: epp, namespace: apps}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: epp}
subjects:
- {kind: ServiceAccount, name: epp}
"""
ROUTES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: epp, namespace: apps}
spec:
  host: epp.apps.svc.cluster.local
  trafficPolicy:
    tls: {mode: SIMPLE, insecureSkipVerify: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: infra}
spec:
  gatewayClassName: istio
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    allowedRoutes: {namespaces: {from: All}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: apps}
spec:
  parentRefs:
  - name: gateway
    namespace: infra
  rules:
  - matches:
    - path: {type: PathPrefix, value: /v1}
    backendRefs:
    - group: inference.networking.k8s.io
      kind: InferencePool
      name: pool
"""
WORLD = "---".join([SERVER, POOL, PICKER, RIGHTS, ROUTES])

FOLLOWING = {"not-run", "not-simulated"}  # of a picker that nobody finds, of a listener that is not run
# Rules whose neighbour is right in a cluster, by files that are not in the manifests: `up` refuses it here.
BY_FILES = {"picker-tls", "picker-config", "route-parent"}

Edit = tuple[str, str]  # a text that stands in the world once, and what stands there instead


def world(*edits: Edit) -> str:
    text = WORLD
    for old, new in edits:
        assert text.count(old) == 1, f"stands {text.count(old)} times: {old!r}"
        text = text.replace(old, new)
    return text


@lru_cache(maxsize=1024)
def _parsed(text: str, file: str) -> tuple[Document, ...]:
    return tuple(load_documents(text, file, ManifestError))


def documents(text: str, file: str = FILE) -> Iterator[Document]:
    """The documents of `text`. An edit leaves most as they are, and reading YAML is what takes the time."""
    above = 0
    for part in re.split(r"^---$", text, flags=re.MULTILINE):
        for document in _parsed(part, file):
            lines = {path: line + above for path, line in document.lines.items()}
            yield replace(document, line=document.line + above, lines=lines)
        above += part.count("\n")


def findings(text: str, crds: str | None = None, file: str = FILE) -> list[Finding]:
    return lint(read(documents(text, file)), crds)


def marked(text: str) -> list[int]:
    """The lines, from 1, that carry the mark."""
    return [n for n, line in enumerate(text.splitlines(), 1) if MARK in line]


@dataclass(frozen=True)
class Case:
    """A mistake, the one finding it makes, and the nearest edit that makes none."""

    rule: str
    mistake: tuple[Edit, ...]
    message: str
    neighbour: tuple[Edit, ...]

    def __str__(self) -> str:
        return f"{self.rule}: {self.message[:40]}"

    def check(self) -> None:
        broken = world(*self.mistake)
        found = [f for f in findings(broken) if f.rule.id not in FOLLOWING - {self.rule}]
        assert [(f.rule.id, f.message) for f in found] == [(self.rule, self.message)]
        assert (found[0].file, [found[0].line]) == (FILE, marked(broken))
        assert found[0].consequence
        assert found[0].mend
        assert found[0].rule is RULES[self.rule]
        refused = {"up-refuses"} if self.rule in BY_FILES else set()
        assert [f for f in findings(world(*self.neighbour)) if f.rule.id not in refused] == []
