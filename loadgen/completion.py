"""`loadgen completion bash|zsh|fish`: a static script, made from the table of commands and their `--help`.

Flags are read off the help texts: that is the one list which all commands have, whatever parses them.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping, Sequence

_FLAG = re.compile(r"(?<![\w-])(?:--[a-z][a-z0-9-]*|-[A-Za-z])(?![\w-])")


def flags_of(run: Callable[[Sequence[str]], int], command: str) -> list[str]:
    """The flags that `COMMAND --help` lists at the beginning of its lines, sorted."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        run([command, "--help"])
    heads = (re.split(r"\s{2,}", x.strip())[0] for x in shown.getvalue().splitlines())
    return sorted({flag for head in heads if head.startswith("-") for flag in _FLAG.findall(head)})


def script(shell: str, program: str, commands: Mapping[str, Sequence[str]]) -> str:
    """The script for `program`; `commands` maps each command to its flags. File names complete besides."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program, commands)


def _cases(commands: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"    {name}) flags='{' '.join(flags)}' ;;" for name, flags in commands.items())


def _bash(program: str, commands: Mapping[str, Sequence[str]]) -> str:
    return f"""# {program} completion bash > ~/.local/share/bash-completion/completions/{program}
_{program}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} flags=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(commands)}' -- "$current"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{_cases(commands)}
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current")); fi
}}
complete -o default -F _{program} {program}
"""


def _zsh(program: str, commands: Mapping[str, Sequence[str]]) -> str:
    return f"""#compdef {program}
# {program} completion zsh > a directory of $fpath, as _{program}
_{program}() {{
  local flags=
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(commands)}
    return
  fi
  case ${{words[2]}} in
{_cases(commands)}
  esac
  if [[ $PREFIX == -* ]]; then compadd -- ${{=flags}}; else _files; fi
}}
compdef _{program} {program}
"""


def _fish(program: str, commands: Mapping[str, Sequence[str]]) -> str:
    lines = [
        f"# {program} completion fish > ~/.config/fish/completions/{program}.fish",
        f"complete -c {program} -n __fish_use_subcommand -f -a '{' '.join(commands)}'",
    ]
    for name, flags in commands.items():
        for flag in flags:
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"complete -c {program} -n '__fish_seen_subcommand_from {name}' {kind}")
    return "\n".join(lines) + "\n"
