"""One self-contained HTML file: figures, tables and pictures of a run; no script, nothing fetched.

Each picture stands in the page twice, drawn for a wide and for a narrow screen, and the style sheet shows the
one that fits; text in a picture is never scaled below reading size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from loadgen.judge.report import About, Report
from loadgen.numbers.quantity import show_time
from loadgen.report import pictures, sentences, tables
from loadgen.report.pictures import Picture
from loadgen.report.svg import legend
from loadgen.report.tables import Table

HALF = 520
FULL = 1080
NARROW = 346
ROUTING = (pictures.shares, pictures.picks, pictures.gauges)
_TONES = {
    "ok": "good", "passed": "good", "warn": "warn", "fail": "bad", "failed": "bad", "error": "bad",
    "skip": "none",
    "better": "good",
    "worse": "bad",
    "shed": "none",
}  # fmt: skip


def html(report: Report) -> str:
    """The page of one run."""
    run = report.run
    parts = [
        header(run.name, _subtitle(report), [(sentences.verdict(report), _tone(report))]),
        tiles(_tiles(report)),
        section("Expectations", table(tables.expectations(report.expectations), bare=True)),
        section("Latency", _drawn(report, pictures.latency), table(tables.latency(report))),
        section("Load and outcomes", _drawn(report, pictures.load), *map(table, _load_tables(report))),
        section(
            "Routing",
            _scorecard(report),
            _drawn(report, *ROUTING),
            table(tables.pods(report)),
            table(tables.roles(report)),
        ),
        section(
            "Prefix cache",
            _drawn(report, pictures.prefix, pictures.prefix_groups),
            table(tables.prefix_groups(report)),
        ),
        section("LoRA adapters", _drawn(report, pictures.lora)),
        section("Events", table(tables.recovery(report), bare=True)),
        section("Is the run to be trusted?", table(tables.selfchecks(report), bare=True)),
        _details("All percentiles", table(tables.percentiles(report), bare=True)),
        _details(tables.ALL_FIGURES, table(tables.figures(report), bare=True)),
        _details("How this run was made", _how(report)),
        _footer(run),
    ]
    return page(run.name, parts)


def page(title: str, parts: Sequence[str]) -> str:
    """A whole document around finished parts."""
    style = resources.files("loadgen").joinpath("report.css").read_text(encoding="utf-8")
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    scheme = '<meta name="color-scheme" content="light dark">'
    head = f"<head>{meta}{scheme}<title>{escape(title)}</title><style>{style}</style></head>"
    return (
        f'<!doctype html>\n<html lang="en">{head}<body><main>\n'
        + "\n".join(filter(None, parts))
        + "\n</main></body></html>\n"
    )


def header(title: str, subtitle: str, verdicts: Sequence[tuple[str, str]]) -> str:
    """Title and the sentences that matter, each with its tone: good, bad, warn or none."""
    lines = "".join(
        f'<div><span class="verdict {tone}">{escape(words)}</span></div>' for words, tone in verdicts
    )
    return f"<header><h1>{escape(title)}</h1><p>{subtitle}</p>{lines}</header>"


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """Key figures as (value, what it is)."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
            for value, name in items
        )
        + "</div>"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; nothing when there is nothing."""
    body = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _drawn(report: Report, *makers: Callable[[Report], list[Picture]]) -> str:
    """The pictures of several makers; one that fails costs its own, never the page."""
    items: list[Picture] = []
    for make in makers:
        try:
            items += make(report)
        except Exception as error:  # noqa: BLE001  # a picture is not worth a verdict
            items.append(Picture(make.__name__, lambda _, error=error: _undrawn(error)))  # type: ignore[misc]
    return in_pairs(items)


def _undrawn(error: Exception) -> str:
    return f"<p>This picture could not be drawn: {escape(f'{type(error).__name__}: {error}')}</p>"


def in_pairs(items: Sequence[Picture]) -> str:
    """Half-width pictures in pairs, full-width ones alone."""
    out, half = [], ""
    for picture in items:
        if picture.full:
            out.append(f'<div class="wide">{_figure(picture, FULL)}</div>')
            continue
        if not half:
            half = _figure(picture, HALF)
        else:
            out.append(f'<div class="pair">{half}{_figure(picture, HALF)}</div>')
            half = ""
    if half:
        out.append(f'<div class="pair">{half}</div>')
    return "".join(out)


def _figure(picture: Picture, width: int) -> str:
    small = f"<small>{escape(picture.note)}</small>" if picture.note else ""
    keys = legend(picture.keys) if picture.keys else ""
    try:
        large, narrow = picture.draw(width), picture.draw(NARROW)
    except Exception as error:  # noqa: BLE001  # a picture is not worth a verdict
        large = narrow = _undrawn(error)
    caption = f"<figcaption>{escape(picture.title)}{small}</figcaption>"
    return (
        f'<figure>{caption}{keys}<div class="large">{large}</div><div class="small">{narrow}</div></figure>'
    )


def table(content: Table | None, *, bare: bool = False) -> str:
    """A table that scrolls sideways on its own on a narrow screen; `bare`: the section names it already."""
    if content is None:
        return ""
    prose = content.title in ("Self-checks", "Expectations", "Throughput", tables.ALL_FIGURES)
    heads = "".join(f"<th>{escape(head)}</th>" for head in content.columns)
    rows = "".join(
        f"<tr><td>{escape(first)}</td>{''.join(map(_cell, rest))}</tr>" for first, *rest in content.rows
    )
    note = f'<p class="note">{escape(content.note)}</p>' if content.note else ""
    head = f"<thead><tr>{heads}</tr></thead>" if any(content.columns) else ""
    title = "" if bare else f"<h3>{escape(content.title)}</h3>"
    kind = ' class="prose"' if prose else ""
    grid = f'<div class="scroll"><table{kind}>{head}<tbody>{rows}</tbody></table></div>'
    return f'<div class="card wide">{title}{grid}{note}</div>'


def _cell(text: str) -> str:
    if text in _TONES:
        return f'<td><span class="badge {_TONES[text]}">{text}</span></td>'
    value, bracket, rest = text.partition(" [")
    if bracket and rest.endswith("]") and rest.count(",") == 1:
        return f'<td>{escape(value)} <span class="ci">[{escape(rest)}</span></td>'
    return f"<td>{escape(text)}</td>"


def _tone(report: Report) -> str:
    return {0: "good" if report.expectations else "none", 1: "bad", 2: "warn"}[report.exit_code]


def _subtitle(report: Report) -> str:
    run = report.run
    started = datetime.fromtimestamp(run.t0, UTC).strftime("%Y-%m-%d %H:%M UTC")
    words = f"{run.requests:,} requests to {run.target} · {started} · seed {run.seed}"
    about = f"{escape(run.description)}<br>" if run.description else ""
    return about + escape(words)


def _tiles(report: Report) -> list[tuple[str, str]]:
    latency, rate = report.latency, report.throughput
    items = [
        (tables.share(report.outcomes.shares.ok), "ok"),
        (f"{rate.achieved_rate:.1f} /s", f"of {rate.requested_rate:.1f} /s asked"),
    ]
    if latency.ttft:
        items.append((show_time(latency.ttft.p50), "TTFT p50"))
        items.append((show_time(latency.ttft.p99), "TTFT p99"))
    if latency.tpot:
        items.append((show_time(latency.tpot.p50), "TPOT p50"))
    if latency.e2e:
        items.append((show_time(latency.e2e.p90), "E2E p90"))
    if report.goodput:
        items.append((tables.share(report.goodput.share), "goodput"))
    return items + _routing_tiles(report)


def _routing_tiles(report: Report) -> list[tuple[str, str]]:
    items = []
    if report.spread and report.spread.pods > 1:
        items.append((f"{report.spread.max_over_mean:.2f}", "busiest pod / mean"))
    if report.prefix and report.prefix.reached is not None:
        items.append((tables.share(report.prefix.reached), "of best cache hits"))
    if report.lora:
        items.append((tables.share(report.lora.routed_loaded_share), "adapter was loaded"))
    return items


def _load_tables(report: Report) -> list[Table | None]:
    several = len(report.by.get("class", {})) > 1
    splits = [tables.split(report, kind) for kind in ("pool", "adapter", "stage")]
    return [tables.outcomes(report), tables.split(report, "class") if several else None, *splits]


def _scorecard(report: Report) -> str:
    lines = sentences.scorecard(report)
    if not lines:
        return ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in lines)
    return f'<div class="card wide"><dl>{rows}</dl></div>'


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def _how(report: Report) -> str:
    run = report.run
    facts = {
        "command": " ".join(run.command),
        "directory": run.dir,
        "host": run.host,
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "workers": str(run.workers),
        "models": ", ".join(run.models),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    yaml = f"<pre>{escape(run.scenario_text)}</pre>" if run.scenario_text else ""
    return f'<div class="card"><dl>{rows}</dl></div>{yaml}'


def _footer(run: About) -> str:
    return f"<footer>vllm-simfleet {escape(run.version)} · latencies count from the intended start</footer>"
