"""Installs what test_vllm_oracle.py needs: `python tests/simulator/engine/install_oracle.py [FOLDER]`.

FOLDER (default $VLLM_ORACLE or .simfleet/vllm-oracle) gets `venv`, with torch and vLLM's Python dependencies,
and `site` and `site-0.11`, the Python files of the vLLM wheels without their CUDA extensions: the scheduler
is pure Python. Downloads about 4 GB, because the default torch for x86-64 brings CUDA along; TORCH_INDEX
names an index with the small CPU build. Does nothing when everything is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

VLLM = {"site": "vllm==0.33.0", "site-0.11": "vllm==0.11.0"}
TORCH = "torch==2.13.0"
DEPENDENCIES = [
    "aiohttp",
    "anthropic",
    "blake3",
    "cachetools",
    "cbor2",
    "cloudpickle",
    "compressed-tensors==0.17.0",
    "depyf==0.20.0",
    "diskcache",
    "einops",
    "fastapi",
    "filelock",
    "gguf",
    "huggingface_hub",
    "ijson",
    "jsonschema",
    "lark==1.2.2",
    "llguidance",
    "mcp",
    "model-hosting-container-standards",
    "msgpack",
    "msgspec",
    "numpy",
    "openai",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "orjson",
    "oss-harmony",
    "partial-json-parser",
    "pillow",
    "prometheus-fastapi-instrumentator",
    "prometheus_client",
    "protobuf",
    "psutil",
    "py-cpuinfo",
    "pybase64",
    "pydantic",
    "python-json-logger",
    "pyyaml",
    "pyzmq",
    "regex",
    "requests",
    "safetensors",
    "sentencepiece",
    "setproctitle",
    "tiktoken",
    "tokenizers",
    "tqdm",
    "transformers>=5.16.1,<5.20.0",
    "typing_extensions",
    "uvloop",
    "watchfiles",
    "xgrammar",
]


def folder() -> Path:
    """Where the oracle is or will be."""
    default = Path(__file__).parents[3] / ".simfleet/vllm-oracle"
    return Path(os.environ.get("VLLM_ORACLE") or default)


def install(where: Path) -> None:
    done = where / "installed"
    if done.exists():
        print(f"{where}: installed already")
        return
    where.mkdir(parents=True, exist_ok=True)
    venv.create(where / "venv", with_pip=True)
    python = str(where / "venv/bin/python")
    index = os.environ.get("TORCH_INDEX")
    _run(python, "-m", "pip", "install", "--quiet", TORCH, *(["--index-url", index] if index else []))
    _run(python, "-m", "pip", "install", "--quiet", *DEPENDENCIES)
    for name, version in VLLM.items():
        with tempfile.TemporaryDirectory() as wheels:
            _run(python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, version)
            with zipfile.ZipFile(next(Path(wheels).glob("vllm-*.whl"))) as wheel:
                files = [
                    n for n in wheel.namelist() if n.startswith("vllm/") and n.endswith((".py", ".json"))
                ]
                wheel.extractall(where / name, files)
    done.touch()
    print(f"{where}: installed {', '.join(VLLM.values())}")


def _run(*command: str) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]) if len(sys.argv) > 1 else folder())
