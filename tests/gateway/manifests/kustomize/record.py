"""Record what kubectl makes of overlays.yaml: `python -m tests.gateway.manifests.kustomize.record`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RECORDED = "v5.5"  # the version of kustomize that expected/ is of
EXPECTED = HERE / "expected"
OVERLAYS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "overlays.yaml").read_text())
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write(overlay: dict[str, Any], root: Path) -> Path:
    """The overlay and its base as directories below `root`; that of the overlay."""
    where = root / "overlay"
    spec = dict(overlay["k"])
    if not overlay.get("without-base"):
        spec["resources"] = ["../base", *spec.get("resources", ())]
    files = {k: v for k, v in overlay.items() if k not in {"k", "without-base"}}
    files["kustomization.yaml"] = yaml.safe_dump(spec, allow_unicode=True)
    files["../base/kustomization.yaml"] = "resources: [base.yaml]\n"
    files["../base/base.yaml"] = (HERE / "base.yaml").read_text()
    for name, text in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(text)
    return where


def kubectl(where: Path) -> list[Any]:
    """The objects that `kubectl kustomize` prints. Raises CalledProcessError where it refuses."""
    done = subprocess.run(["kubectl", "kustomize", str(where)], capture_output=True, text=True, check=True)
    return list(yaml.load_all(done.stdout, Loader))


def version() -> str:
    """Of the kustomize in kubectl, such as v5.5; empty without kubectl."""
    if shutil.which("kubectl") is None:
        return ""
    argv = ["kubectl", "version", "--client", "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout).get("kustomizeVersion", "")).rpartition(".")[0]


def main() -> None:
    print("kustomize", version(), "- the records in the repository are of", RECORDED)
    for name, overlay in OVERLAYS.items():
        with tempfile.TemporaryDirectory() as root:
            try:
                found = kubectl(write(overlay, Path(root)))
            except subprocess.CalledProcessError as error:
                print(name, "is refused:", error.stderr)
                continue
        (EXPECTED / f"{name}.yaml").write_text(yaml.safe_dump_all(found, default_flow_style=None, width=200))


if __name__ == "__main__":
    main()
