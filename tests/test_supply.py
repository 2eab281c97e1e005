"""What the project is built from and by whom: pins, rights of jobs, the image's lock file."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+(,.*)?")
MAY_WRITE = {
    ("release.yml", "image"): {"packages", "id-token", "attestations"},
    ("release.yml", "charts"): {"packages", "id-token"},
    ("release.yml", "wheels"): {"id-token", "attestations"},
    ("release.yml", "publish"): {"contents"},
}
"""All that any job may write; every other job reads."""
LOCKED = re.compile(
    r"^([\w.-]+)==(\S+) ; (.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
TARGETS = [
    {
        "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine,
        "python_version": "3.12", "python_full_version": "3.12.14", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "os_name": "posix", "extra": "",
    }
    for machine in ("x86_64", "aarch64")
]  # fmt: skip


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, name, job) of every workflow."""
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield path.name, name, job


def locked(name: str) -> list[tuple[str, str, Marker, int]]:
    """(package, version, marker, hashes) of a lock file; every line that is no comment is in one of them."""
    text = (ROOT / "deploy" / "image" / name).read_text()
    found = list(LOCKED.finditer(text))
    rest = LOCKED.sub("", text)
    assert all(line.startswith("#") for line in rest.splitlines()), f"not a locked package: {rest[:300]}"
    return [(canonicalize_name(m[1]), m[2], Marker(m[3]), m[4].count("--hash")) for m in found]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_sha_with_their_version(path: Path) -> None:
    used = re.findall(r"^ +(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_an_action_has_one_sha_everywhere() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    shas: dict[str, set[str]] = {}
    for action, sha in re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", text):
        shas.setdefault(action, set()).add(sha)
    assert {action: found for action, found in shas.items() if len(found) > 1} == {}


@pytest.mark.parametrize(("file", "name", "job"), list(jobs()), ids=lambda x: x if isinstance(x, str) else "")
def test_a_job_has_the_least_permissions(file: str, name: str, job: dict[str, Any]) -> None:
    whole = yaml.safe_load((ROOT / ".github" / "workflows" / file).read_text())
    assert whole["permissions"] == {}, "what a job may do stands at the job"
    given = job["permissions"]
    assert {scope for scope, right in given.items() if right == "write"} == MAY_WRITE.get((file, name), set())
    assert set(given.values()) <= {"read", "write"}
    assert job["timeout-minutes"] <= 45


@pytest.mark.parametrize(("file", "name", "job"), list(jobs()), ids=lambda x: x if isinstance(x, str) else "")
def test_scripts_take_nothing_unseen(file: str, name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        script = step.get("run", "")
        assert not re.search(r"(curl|wget)[^\n]*\|[^\n]*\b(ba)?sh\b", script), "a download that is run unseen"
        assert not re.search(r"\$\{\{ *(github|secrets|inputs|steps)\b", script), (
            "values come as env, not as text"
        )
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_is_released_is_signed_and_has_its_sbom() -> None:
    released = {name: job for file, name, job in jobs() if file == "release.yml"}
    for name in ("image", "wheels"):
        steps = released[name]["steps"]
        uses = [step.get("uses", "").partition("@")[0] for step in steps]
        assert {"sigstore/cosign-installer", "anchore/sbom-action"} <= set(uses)
        attested = [step["with"] for step in steps if step.get("uses", "").startswith("actions/attest@")]
        assert ["sbom-path" in each for each in attested] == [False, True], "provenance, then the SBOM"
        assert any("cosign sign" in step.get("run", "") for step in steps)
    assert any("cosign sign" in step.get("run", "") for step in released["charts"]["steps"])
    assert set(released["publish"]["needs"]) == released.keys() - {"publish"}
    assert not any(
        step.get("uses", "").startswith("actions/checkout@") for step in released["publish"]["steps"]
    )


def test_the_lock_covers_what_the_image_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {
        "runtime.txt": [*project["project"]["dependencies"], *extras["kv-events"], *extras["tokenizers"]],
        "build.txt": project["dependency-groups"]["image"],
    }
    assert project["build-system"]["requires"] == wanted["build.txt"]
    for name, lines in wanted.items():
        rows = locked(name)
        assert all(hashes for *_, hashes in rows)
        for target in TARGETS:
            here = {package: version for package, version, marker, _ in rows if marker.evaluate(target)}
            for need in map(Requirement, lines):
                if need.marker is None or need.marker.evaluate(target):
                    version = here.get(canonicalize_name(need.name))
                    assert version is not None, f"{name} lacks {need}: make lock"
                    assert version in need.specifier, f"{name} has {version}, not {need}: make lock"


def test_a_package_is_locked_once_a_platform() -> None:
    for name in ("runtime.txt", "build.txt"):
        for target in TARGETS:
            here = [package for package, _, marker, _ in locked(name) if marker.evaluate(target)]
            assert len(here) == len(set(here))


def test_the_audit_fails_for_findings_only() -> None:
    judged = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["judged"]
    lock = Path("lock.txt")
    fine = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "not found"}
    flawed = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    assert judged(lock, {"dependencies": [fine]}) == ("lock.txt: 1 of 1 packages audited, 0 findings", False)
    words, found = judged(lock, {"dependencies": [fine, skipped]})
    assert (found, "1 of 2 packages" in words, "not found" in words) == (False, True, True)
    words, found = judged(lock, {"dependencies": [fine, flawed]})
    assert (found, "c 2: PYSEC-1, mended in 3" in words) == (True, True)


def test_the_audit_says_when_it_could_not_ask(tmp_path: Path) -> None:
    audit = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["audit"]
    words, found = audit(tmp_path / "no-such-lock.txt")
    assert (found, "not audited" in words) == (False, True)
