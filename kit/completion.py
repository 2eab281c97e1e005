"""`PROGRAM completion bash|zsh|fish`: a static script, made from the table of commands and their `--help`.

Flags are read off the help texts: that is the one list which all commands have, whatever parses them.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SHELLS = ("bash", "zsh", "fish")
_FLAG = re.compile(r"(?<![\w-])(?:--[a-z][a-z0-9-]*|-[A-Za-z])(?![\w-])")


def flags_of(run: Callable[[Sequence[str]], int], command: str) -> list[str]:
    """The flags that `COMMAND --help` lists at the beginning of its lines, sorted."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        run([command, "--help"])
    heads = (re.split(r"\s{2,}", x.strip())[0] for x in shown.getvalue().splitlines())
    return sorted({flag for head in heads if head.startswith("-") for flag in _FLAG.findall(head)})


@dataclass(frozen=True, slots=True)
class Words:
    """What completes to words that `PROGRAM completion words KIND` prints at that moment."""

    after: Mapping[str, str] = field(default_factory=dict)  # flag -> kind
    of: Mapping[str, str] = field(default_factory=dict)  # command -> kind of its arguments


def script(
    shell: str, program: str, commands: Mapping[str, Sequence[str]], words: Words | None = None
) -> str:
    """The script for `program`; `commands` maps each command to its flags. File names complete besides."""
    maker = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return maker(program, commands, words or Words())


def _kinds(words: Mapping[str, str]) -> str:
    return "\n".join(f"    {name}) kind={kind} ;;" for name, kind in words.items())


def _cases(commands: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"    {name}) flags='{' '.join(flags)}' ;;" for name, flags in commands.items())


def _bash(program: str, commands: Mapping[str, Sequence[str]], words: Words) -> str:
    return f"""# {program} completion bash > ~/.local/share/bash-completion/completions/{program}
_{program}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} flags= kind=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(commands)}' -- "$current"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{_cases(commands)}
  esac
  case ${{COMP_WORDS[1]}} in
{_kinds(words.of)}
    *) ;;
  esac
  case ${{COMP_WORDS[COMP_CWORD-1]}} in
{_kinds(words.after)}
    *) ;;
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [ -n "$kind" ]; then
    COMPREPLY=($(compgen -W "$({program} completion words $kind 2>/dev/null)" -- "$current"))
  fi
}}
complete -o default -F _{program} {program}
"""


def _zsh(program: str, commands: Mapping[str, Sequence[str]], words: Words) -> str:
    return f"""#compdef {program}
# {program} completion zsh > a directory of $fpath, as _{program}
_{program}() {{
  local flags= kind=
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(commands)}
    return
  fi
  case ${{words[2]}} in
{_cases(commands)}
  esac
  case ${{words[2]}} in
{_kinds(words.of)}
    *) ;;
  esac
  case ${{words[CURRENT-1]}} in
{_kinds(words.after)}
    *) ;;
  esac
  if [[ $PREFIX == -* ]]; then compadd -- ${{=flags}}
  elif [[ -n $kind ]]; then compadd -- $({program} completion words $kind 2>/dev/null); _files
  else _files; fi
}}
compdef _{program} {program}
"""


def _fish(program: str, commands: Mapping[str, Sequence[str]], words: Words) -> str:
    lines = [
        f"# {program} completion fish > ~/.config/fish/completions/{program}.fish",
        f"complete -c {program} -n __fish_use_subcommand -f -a '{' '.join(commands)}'",
    ]
    for name, kind in words.of.items():
        for command in name.split("|"):
            known = f"-n '__fish_seen_subcommand_from {command}'"
            lines.append(f"complete -c {program} {known} -a '({program} completion words {kind})'")
    for name, flags in commands.items():
        for flag in flags:
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            if flag in words.after:
                kind += f" -x -a '({program} completion words {words.after[flag]})'"
            lines.append(f"complete -c {program} -n '__fish_seen_subcommand_from {name}' {kind}")
    return "\n".join(lines) + "\n"
