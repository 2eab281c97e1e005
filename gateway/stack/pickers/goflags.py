"""Flags of a Go program among its arguments: `--name value`, `--name=value`, `-name`, switches."""

from __future__ import annotations

from collections.abc import Collection, Sequence

# Flags of the endpoint picker that take a value only after `=`.
SWITCHES = frozenset({
    "secure-serving", "health-checking", "tracing", "enable-pprof", "metrics-endpoint-auth",
    "model-server-metrics-https-insecure-skip-verify", "ha-enable-leader-election", "enable-cert-reload",
    "disable-endpoint-subset-filter", "emit-endpoint-scores", "enable-grpc-stream-metrics",
    "allow-experimental-plugins", "zap-devel", "refresh-prometheus-metrics",
})  # fmt: skip


def split(args: Sequence[str]) -> list[tuple[str, str | None]]:
    """(name, value) of each flag in order; None for a switch. Words that belong to no flag are left out."""
    flags: list[tuple[str, str | None]] = []
    i = 0
    while i < len(args):
        word = args[i]
        i += 1
        if not word.startswith("-") or word in {"-", "--"}:
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if equals:
            flags.append((name, value))
        elif name not in SWITCHES and i < len(args):
            flags.append((name, args[i]))
            i += 1
        else:
            flags.append((name, None))
    return flags


def join(flags: Sequence[tuple[str, str | None]]) -> list[str]:
    """Arguments of the form --name=value, which every flag library reads the same way."""
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in flags]


def value_of(flags: Sequence[tuple[str, str | None]], name: str) -> str | None:
    """The last value given to a flag; `true` for a switch without one, None when it is not given."""
    return next((("true" if v is None else v) for n, v in reversed(flags) if n == name), None)


def without(flags: Sequence[tuple[str, str | None]], names: Collection[str]) -> list[tuple[str, str | None]]:
    return [(name, value) for name, value in flags if name not in names]


def is_true(value: str | None, default: bool) -> bool:
    """A Go boolean: 1, t, true in any case."""
    return default if value is None else value.lower() in {"1", "t", "true"}
