"""kubectl's commands of daily use, in an order in which each finds what it needs.

`kubectl_recorded.json` has what a kube-apiserver 1.32.4 without controllers answered to each; `python -m
tests.e2e.kubectl_commands KUBECONFIG` writes it anew. Names, counts, messages and exit codes are compared;
what differs from run to run (ages, uids, versions, generated names) is not.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("kubectl_recorded.json")

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [things]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget.
        required: [spec]
        properties:
          spec:
            type: object
            description: What it is like.
            required: [color]
            x-kubernetes-validations:
            - {rule: "self.size <= 5 || self.color == 'red'", message: only red ones are large}
            properties:
              size: {type: integer, minimum: 1, maximum: 9, default: 2, description: How large.}
              color: {type: string, enum: [red, blue]}
              name: {type: string, pattern: '^[a-z]+$', maxLength: 5}
              parts:
                type: array
                maxItems: 2
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [id]
                items: {type: object, required: [id], properties: {id: {type: string}, n: {type: integer}}}
          status: {type: object, properties: {size: {type: integer}}}
"""
WIDGET = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: trial}\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, namespace: trial}\n"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: trial, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "x:1", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}
      - {name: b, image: "y:1"}
"""
WEB_3 = WEB.replace("replicas: 2", "replicas: 3").replace('"x:1"', '"x:2"')
WIDGETS = WIDGET + "spec: {color: red, size: 7, parts: [{id: a, n: 1}, {id: b}]}\n"


@dataclass(frozen=True)
class Command:
    """`out` and `err` say whether standard output and error are compared, too."""

    line: str
    stdin: str = ""
    out: bool = True
    err: bool = True


COMMANDS = (
    Command("create namespace trial"),
    Command("create namespace trial"),
    Command("create ns Bad_Name"),
    Command("get ns trial -o name"),
    Command("get ns nope"),
    Command("label ns trial team=a"),
    Command("get ns trial --show-labels"),
    Command("create deployment d -n trial --image=x:1 --replicas=2"),
    Command("create deployment d -n trial --image=x:1"),
    Command("get deploy d -n trial -o jsonpath={.spec.template.spec.containers[0].imagePullPolicy}"),
    Command("get deploy d -n trial -o jsonpath={.spec}"),
    Command("scale -n trial deploy d --replicas=3"),
    Command("scale -n trial deploy d --replicas=4 --current-replicas=9"),
    Command("get deploy d -n trial -o jsonpath={.spec.replicas}"),
    Command("set image -n trial deploy/d x=x:2"),
    Command("set env -n trial deploy/d A=b"),
    Command("rollout history -n trial deploy/d", out=False),
    Command("rollout pause -n trial deploy/d"),
    Command("rollout pause -n trial deploy/d"),
    Command("rollout resume -n trial deploy/d"),
    Command("patch -n trial deploy d -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"x\","
            "\"image\":\"x:3\"}]}}}}'"),
    Command("patch -n trial deploy d --type=merge -p '{\"metadata\":{\"labels\":{\"a\":\"b\"}}}'"),
    Command("patch -n trial deploy d --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/labels/a\"}]'"),
    Command("patch -n trial deploy d --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/labels/a\"}]'"),
    Command("patch -n trial deploy d -p '{\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"z\"}}}}'"),
    Command("patch -n trial deploy d -p '{\"spec\":{\"replicas\":\"x\"}}'", err=False),  # words of the merge
    Command("patch -n trial deploy d -p '{\"spec\":{\"replicas\":-1}}'"),
    Command("apply -f -", WEB),
    Command("apply -f -", WEB),
    Command("diff -f -", WEB_3, out=False),
    Command("diff -f -", WEB),
    Command("apply -f -", WEB_3),
    Command("get deploy web -n trial -o jsonpath={.spec.template.spec.containers[*].image}"),
    Command("apply --server-side -f -", WEB),
    Command("apply --server-side --force-conflicts -f -", WEB),
    Command("apply --server-side --field-manager=me -f -", MAP + 'data: {a: "1", b: "2"}'),
    Command("apply --server-side --field-manager=you -f -", MAP + 'data: {a: "2"}'),
    Command("apply --server-side --field-manager=you --force-conflicts -f -", MAP + 'data: {a: "2"}'),
    Command("apply --server-side --field-manager=me -f -", MAP + 'data: {a: "2"}'),
    Command("get cm map -n trial -o jsonpath={.data}"),
    Command("get cm map -n trial -o yaml --show-managed-fields"),
    Command("create -f - --dry-run=server -o yaml", MAP.replace("map", "dry") + 'data: {a: "1"}'),
    Command("create -f - --dry-run=server", MAP + 'data: {a: "1"}'),
    Command("create -f -", MAP.replace("name: map", "generateName: g-"), out=False),
    Command("create -f -", MAP.replace("map", "typed") + "data: {a: 1}"),
    Command("create -f -", MAP.replace("map", "odd") + "date: {a: x}"),
    Command("create -f - --validate=warn", MAP.replace("map", "odd") + "date: {a: x}"),
    Command("create -f -", MAP.replace("trial", "nowhere")),
    Command("create -f -", "apiVersion: v2\nkind: Nothing\nmetadata: {name: x}\n", err=False),
    Command("create -f -", WEB.replace("name: web,", "name: bare,").replace("matchLabels: {app: web}",
            "matchLabels: {app: other}")),
    Command("create -f -", WEB.replace("name: web,", "name: empty,").replace("image: \"y:1\"", "foo: z")),
    Command("replace -f -", MAP + 'data: {c: "3"}'),
    Command("replace -f -", MAP + 'metadata2: {}\ndata: {c: "3"}'),
    Command("annotate -n trial cm map note=here"),
    Command("annotate -n trial cm map note=there"),
    Command("annotate -n trial cm map note=there --overwrite"),
    Command("label -n trial cm map k=v"),
    Command("label -n trial cm map k-"),
    Command("label -n trial cm map bad=a/b"),
    Command("get cm -n trial -l k=v -o name"),
    Command("get cm -n trial --field-selector metadata.name=map -o name"),
    Command("get cm -n trial --field-selector data.a=b"),
    Command("create configmap c -n trial --from-literal=a=b"),
    Command("create secret generic s -n trial --from-literal=a=b"),
    Command("get secret s -n trial -o jsonpath={.data.a}"),
    Command("get secret s -n trial"),
    Command("create sa robot -n trial"),
    Command("create role r -n trial --verb=get,list --resource=pods"),
    Command("create rolebinding rb -n trial --role=r --serviceaccount=trial:robot"),
    Command("get role,rolebinding -n trial -o name"),
    Command("create service clusterip svc -n trial --tcp=80:8080"),
    Command("get svc svc -n trial"),
    Command("expose -n trial deploy d --port=80 --target-port=8080 --name=front"),
    Command("get svc front -n trial -o jsonpath={.spec.selector}:{.spec.ports[0].targetPort}:{.spec.type}"),
    Command("patch -n trial svc svc -p '{\"spec\":{\"clusterIP\":\"10.96.9.9\"}}'"),
    Command("create service loadbalancer lb -n trial --tcp=80:8080"),
    Command("create quota q -n trial --hard=pods=9"),
    Command("create pdb p -n trial --selector=app=d --min-available=1"),
    Command("autoscale -n trial deploy d --min=1 --max=4"),
    Command("run p -n trial --image=x"),
    Command("get pod p -n trial -o "
            "jsonpath={.spec.containers[0].image}:{.spec.restartPolicy}:{.status.qosClass}"),
    Command("label -n trial pod p a=b"),
    Command("patch -n trial pod p -p '{\"spec\":{\"restartPolicy\":\"Never\"}}'", err=False),  # and a Go diff
    Command("get pods -n trial -l run=p -o custom-columns=N:.metadata.name,I:.spec.containers[0].image"),
    Command("wait -n trial pod/p --for=condition=Ready --timeout=1s"),
    Command("wait -n trial cm/map --for=jsonpath={.data.c}=3 --timeout=5s"),
    Command("wait -n trial cm/nope --for=delete --timeout=5s"),
    Command("apply -f -", CRD),
    Command("wait crd/widgets.example.com --for=condition=established --timeout=20s"),
    Command("get wd -n trial"),
    Command("apply -f -", WIDGET + "spec: {color: blue}\n"),
    Command("get wd -n trial"),
    Command("get widgets.v1.example.com w -n trial -o jsonpath={.spec}"),
    Command("get things -n trial -o name"),
    Command("get wd w -n trial -o wide"),
    Command("scale -n trial wd w --replicas=4"),
    Command("patch -n trial wd w -p '{\"spec\":{\"size\":1}}'"),
    Command("patch -n trial wd w --type=merge -p '{\"spec\":{\"size\":11}}'"),
    Command("patch -n trial wd w --type=merge -p '{\"spec\":{\"size\":6}}'"),
    Command("patch -n trial wd w --type=merge -p '{\"spec\":{\"color\":\"green\",\"name\":\"TooLong\"}}'"),
    Command("patch -n trial wd w --type=merge -p '{\"spec\":{\"size\":\"big\"}}'", err=False),  # and of scale
    Command("patch -n trial wd w --type=merge -p '{\"spec\":{\"parts\":[{\"id\":\"a\"},{\"id\":\"a\"}]}}'"),
    Command("patch -n trial wd w --type=merge --subresource=status "
            "-p '{\"status\":{\"size\":3},\"spec\":{\"size\":9}}'"),
    Command("get wd w -n trial -o jsonpath={.spec.size}:{.status.size}:{.metadata.generation}"),
    Command("apply -f -", WIDGETS),
    Command("apply -f -", WIDGET + "spec: {color: red, weight: 3}\n"),
    Command("explain widget.spec"),
    Command("explain pod.spec.nope"),
    Command("api-resources --api-group=example.com"),
    Command("api-resources --api-group=apps -o name --namespaced", out=False),
    Command("auth can-i create deployments"),
    Command("get --raw /healthz"),
    Command("get --raw /apis/example.com"),
    Command("get --raw /nope"),
    Command("delete cm map c -n trial"),
    Command("delete cm map -n trial"),
    Command("delete cm map -n trial --ignore-not-found"),
    Command("delete deploy d -n trial --dry-run=server"),
    Command("delete deploy d -n trial"),
    Command("delete svc --all -n trial"),
    Command("delete -f -", WIDGET),
    Command("delete crd widgets.example.com"),
    Command("get wd -n trial"),
)  # fmt: skip

_VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r'resourceVersion: "\d+"'), "resourceVersion: N"),
    (re.compile(r"\b10\.96\.\d+\.\d+\b"), "CLUSTER-IP"),
    (re.compile(r"\b(?:\d+[smhd])+\b"), "AGE"),
    (re.compile(r"\b3\d{4}/TCP"), "NODE-PORT/TCP"),
    (re.compile(r'patch: Invalid value: ".*": '), "patch: Invalid value: PATCH: "),
    (re.compile(r" +"), " "),
)


def run(line: str, stdin: str, kubectl: list[str], **options: Any) -> dict[str, Any]:
    """What a command answers, without what varies."""
    done = subprocess.run(
        [*kubectl, *shlex.split(line)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return {"code": done.returncode, "out": steady(done.stdout), "err": steady(done.stderr)}


def steady(text: str) -> str:
    """`text` without what varies."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def main() -> None:
    """Record."""
    kubectl = ["kubectl", "--kubeconfig", sys.argv[1]]
    found = [{"line": c.line, **run(c.line, c.stdin, kubectl)} for c in COMMANDS]
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
