"""Known vulnerabilities of locked packages: `python .ci/audit.py LOCK...`; exit code 1 where there are any.

pip-audit ends with 1 for a finding and for a database out of reach alike. Only a finding is a reason to stop
a build: what could not be asked is said, and how much of the lock it leaves unaudited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def audit(lock: Path) -> tuple[str, bool]:
    """What is to be said of a lock file, and whether it names a vulnerable package."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "audit.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--disable-pip",
            "--require-hashes",
            "--progress-spinner=off",
        ]
        command += ["--requirement", str(lock), "--format", "json", "--output", str(answer)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if not answer.is_file() or not answer.stat().st_size:
            said = (ended.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
            return f"{lock}: not audited, the database could not be asked: {said}", False
        return judged(lock, json.loads(answer.read_text(encoding="utf-8")))


def judged(lock: Path, answer: dict[str, Any]) -> tuple[str, bool]:
    """The same of what pip-audit wrote."""
    packages = answer.get("dependencies", [])
    skipped = [package for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}"
        + (f", mended in {', '.join(flaw['fix_versions'])}" if flaw.get("fix_versions") else "")
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    words = [
        f"{lock}: {len(packages) - len(skipped)} of {len(packages)} packages audited, {len(found)} findings"
    ]
    if skipped:
        words.append(f"  {len(skipped)} not audited, the first because: {skipped[0]['skip_reason']}")
    return "\n".join([*words, *(f"  {line}" for line in found)]), bool(found)


def main(locks: list[str]) -> int:
    answers = [audit(Path(lock)) for lock in locks]
    for words, _ in answers:
        print(words)  # noqa: T201
    return int(any(found for _, found in answers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
