"""The commands around an arm's run: they bring a fresh fleet up and take it down again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kit.yamldoc import load_documents
from loadgen.errors import RunError, ScenarioError
from loadgen.scenario.redaction import Secrets
from loadgen.scenario.scenario import Arm, Scrape

STACK = "loadgen-compare"
SETUP = f'simfleet up --detach --name {STACK} -f "$LOADGEN_FLEET" --epp-config {{arm}}'
TEARDOWN = f"simfleet down --name {STACK}"
FLEET = f"simfleet ps --name {STACK} --format json"
PLACE = "{arm}"
TIMEOUT = 180.0
_TAIL = 15


def arms_of_files(
    files: list[Path],
    setup: str | None,
    teardown: str | None,
    fleet: str | None,
    plugins: Sequence[Path] = (),
) -> list[Arm]:
    """An arm for each picker configuration; `{arm}` in a hook stands for its file.

    plugins: of the reference picker, for the setup that is taken where none is given. ScenarioError for a
    file that is no arm.
    """
    if plugins and setup is not None:
        raise ScenarioError("--plugin is for the setup of `loadgen compare` itself: put it into --setup")
    own = SETUP + ("".join(f" --plugin {shlex.quote(str(p.resolve()))}" for p in plugins))
    own += " --epp reference" if plugins else ""
    arms = []
    for file in files:
        _check_arm(file)
        arms.append(
            Arm(
                name=file.stem,
                setup=with_arm(setup or own, file.resolve(), "--setup"),
                teardown=with_arm(teardown or TEARDOWN, file.resolve(), "--teardown"),
                scrape=Scrape(fleet=fleet or FLEET) if fleet or setup is None else None,
            )
        )
    if len({arm.name for arm in arms}) < len(arms):
        raise ScenarioError("two arms have the same file name; arms are named by it", file=files[0])
    return arms


def _check_arm(file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"--arms {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"cannot be read: {error}", file) from error
    documents = list(load_documents(text, str(file), ScenarioError))
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        raise ScenarioError("an arm's file is a picker configuration or a mapping for your hook", file=file)


_UNREAD = {
    "`": "a backtick",
    "${": "${...}",
    "<<": "a here-document",
    "$'": "$'...'",
    "#": "a comment",
    "esac": "a case",
}
_TOKEN = re.compile(r"\{arm\}|\\.|\$\(|\$\{|\$'|<<|(?<![^\s;&|()])#|\besac\b|.", re.DOTALL)
_IN_DOUBLE = re.compile(r'([$`"\\])')


def with_arm(command: str, file: Path, flag: str) -> str:
    """A hook with the path of its arm for each `{arm}`, quoted as the place asks where it stands.

    Raises ScenarioError for a path that needs quotes in a hook whose quoting is not read here.
    """
    path = str(file)
    quoted = shlex.quote(path)
    if quoted == path or PLACE not in command:
        return command.replace(PLACE, path)
    forms = {"": quoted, "'": path.replace("'", "'\\''"), '"': _IN_DOUBLE.sub(r"\\\1", path)}
    made, places = "", [""]  # what is open: quotes, and "" for each parenthesis
    for match in _TOKEN.finditer(command):
        token, place = match[0], places[-1]
        made += forms[place] if token == PLACE else token
        if place == "'":
            if token.endswith("'"):  # a backslash is no escape here
                places.pop()
        elif token in _UNREAD and (place == "" or token in ("`", "${")):
            what = f"{{arm}} is not put into a hook with {_UNREAD[token]}"
            raise ScenarioError(
                f"{flag}: {what} where the path needs quotes; rename {path!r}", "command line"
            )
        else:
            _step(places, token)
    return made


def _step(places: list[str], token: str) -> None:
    """What is open after a token that stands outside of single quotes."""
    place = places[-1]
    if token == "$(" or (token == "(" and place == ""):
        places.append("")
    elif (token == ")" and place == "" and len(places) > 1) or (token == place == '"'):
        places.pop()
    elif token == '"' or (token == "'" and place == ""):
        places.append(token)


def run_hook(command: str | None, arm: Arm, repeat: int, log: Path, secrets: Secrets | None = None) -> None:
    """Run a hook in a shell, its output into `log`; RunError with the end of the output when it fails."""
    if not command:
        return
    secrets = secrets or Secrets()
    try:
        _run(secrets.reveal(command), arm, repeat, log, secrets)
    except RunError as error:
        raise RunError(secrets.hide(str(error))) from error
    finally:
        _hide_in(log, secrets)


def _hide_in(log: Path, secrets: Secrets) -> None:
    """Take secrets out of what a hook has said."""
    if secrets.values and log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        hidden = secrets.hide(text)
        if hidden != text:
            log.write_text(hidden, encoding="utf-8")


def _run(command: str, arm: Arm, repeat: int, log: Path, secrets: Secrets) -> None:
    use_own_commands()
    own = secrets.reveal_all(arm.env)
    env: Mapping[str, str] = {**os.environ, **own, "LOADGEN_ARM": arm.name, "LOADGEN_REPEAT": str(repeat)}
    with log.open("ab") as out:
        out.write(f"$ {secrets.hide(command)}\n".encode())
        out.flush()
        try:
            done = subprocess.run(
                command,
                shell=True,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(
                f"arm {arm.name}: `{command}` did not end within {TIMEOUT:g} s; see {log}"
            ) from error
    if done.returncode:
        tail = "\n  ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:])
        raise RunError(f"arm {arm.name}: `{command}` ended with {done.returncode}:\n  {tail}")


def use_own_commands() -> None:
    """Let `simfleet` in a hook or a fleet command be the one installed beside this Python."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if path[0] != own:
        os.environ["PATH"] = os.pathsep.join([own, *path])
