"""Reference pages made from the program's own tables, and the value tables of the charts' READMEs.

`python docs/generate.py` writes them, `--check` fails where one of them is not what it would write.
A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->` of a page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z0-9/-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cell(c) for c in row) + " |" for row in rows]) + "\n"


def flags() -> str:
    """Every flag of `simfleet serve` by group."""
    from simulator.config.flags.table import FLAGS

    groups: dict[str, list[list[object]]] = {}
    for flag in FLAGS.values():
        if flag.inert:
            continue
        what = flag.help + (f" One of {', '.join(f'`{c}`' for c in flag.choices)}." if flag.choices else "")
        row: list[object] = [f"`--{flag.name}`", flag.kind.value, flag.default, what, ", ".join(flag.sources)]
        groups.setdefault(flag.group, []).append(row)
    parts = [
        f"## {name[:1].upper()}{name[1:]}\n\n"
        + table(["flag", "value", "default", "what it does", "known from"], rows)
        for name, rows in groups.items()
    ]
    return "\n".join(parts)


def inert_flags() -> str:
    """Flags that are taken and do nothing, by what they would change."""
    from simulator.config.flags.table import FLAGS
    from simulator.config.flags.topics import topic_of

    topics: dict[str, list[str]] = {}
    for name in sorted(name for name, flag in FLAGS.items() if flag.inert):
        topics.setdefault(str(topic_of(name)), []).append(f"`--{name}`")
    return table(["would change", "flags"], [[topic, ", ".join(names)] for topic, names in topics.items()])


def metrics() -> str:
    """Every vLLM family that a replica exports."""
    from simulator.server.metrics.families import describe

    rows: list[list[object]] = []
    for family in describe():
        labels, versions = (", ".join(family[key]) for key in ("labels", "versions"))
        rows.append([f"`{family['name']}`", family["type"], labels, versions, family["help"]])
    return table(["family", "type", "labels", "in", "what it says"], rows)


def profiles() -> str:
    """The named step models."""
    from simulator.engine.pace.profiles import PROFILES
    from simulator.replay.profiles_command import as_json

    rows: list[list[object]] = []
    for name, profile in PROFILES.items():
        found = as_json(profile)
        fit = " / ".join(f"{e:g}" for e in found["fit_error_percent"] or ())
        host = found["host_overhead_us"]
        overhead = f"{host['per_step']:g} + {host['per_sequence']:g} a sequence"
        api = f"{found['api_overhead_us'] / 1000:g}"
        rows.append([f"`{name}`", found["gpu"], found["tables_vllm"], fit, overhead, api, found["source"]])
    titles = ["profile", "GPU", "vLLM", "fit error % (mean/p95/max)", "host overhead us", "API ms", "source"]
    checked = [f"- `{name}`: {each.checked}" for name, each in PROFILES.items() if each.checked]
    return "\n".join([table(titles, rows).rstrip(), "", "Checked on whole servers:", "", *checked]) + "\n"


def compat() -> str:
    """The table of behaviours, where the three differ."""
    from simulator.config.compat import COMPATS

    servers = list(COMPATS.values())
    rows = [
        *_behaviours("simulator/config/compat.py", servers, without=("name", "bodies", "engine")),
        *_behaviours("simulator/engine/config.py", [server.engine for server in servers]),
    ]
    return table(["behaviour", *(f"`{name}`" for name in COMPATS), ""], rows)


def picker_compat() -> str:
    """The table of EPP releases, where they differ."""
    from gateway.picker.compat import TABLE

    rows = _behaviours("gateway/picker/compat.py", list(TABLE.values()), without=("name",))
    return table(["behaviour", *(f"`{name}`" for name in TABLE), ""], rows)


def picker_fields() -> str:
    """Every field of an EndpointPickerConfig, and which releases read it."""
    from gateway.picker.releases import document_of, names_of_releases

    releases: dict[str, list[str]] = {}
    for release in names_of_releases():
        for path in _paths(document_of(release)):
            releases.setdefault(path, []).append(release)
    rows: list[list[object]] = [[f"`{path}`", _span(found)] for path, found in sorted(releases.items())]
    return table(["field", "read by"], rows)


def picker_plugins() -> str:
    """Every plugin type of every EPP release with its parameters, and whether the reference picker has it."""
    from gateway.picker.plugins.builtin import BUILTIN
    from gateway.picker.releases import plugin_types

    rows: list[list[object]] = []
    for known in plugin_types().values():
        built = "yes" if known.name in BUILTIN else "refused"
        for index, variant in enumerate(known.variants):
            name, kind = (f"`{known.name}`", known.kind) if not index else ("", "")
            paths = ["not read"] if variant.fields is None else [f"`{p}`" for p in _paths(variant.fields)]
            marks = [*(["Alpha"] if variant.alpha else []), *(["deprecated"] if variant.deprecated else [])]
            where = _span(variant.releases) + (f" ({', '.join(marks)})" if marks else "")
            rows.append([name, kind, where, ", ".join(paths) or "none", built if not index else ""])
    return table(["type", "kind", "releases", "parameters", "reference picker"], rows)


def _paths(tree: Any, before: str = "") -> list[str]:
    """The leaves of a tree of fields, `a.b` in an object and `a[].b` in a list of them."""
    if isinstance(tree, list):
        return _paths(tree[0], before + "[]")
    if not isinstance(tree, dict) or (not tree and before):
        return [before]
    return [path for name, item in tree.items() for path in _paths(item, f"{before}.{name}".lstrip("."))]


def _span(releases: Sequence[str]) -> str:
    """Releases as "first to last", where none between them is missing."""
    from gateway.picker.releases import names_of_releases

    names = list(names_of_releases())
    first, last = names.index(releases[0]), names.index(releases[-1])
    if len(releases) > 2 and last - first + 1 == len(releases):
        return f"{releases[0]} to {releases[-1]}"
    return ", ".join(releases)


def _behaviours(path: str, columns: Sequence[Any], without: Sequence[str] = ()) -> list[list[object]]:
    """The fields in which `columns` differ, each with the comment that stands beside it in the source."""
    comments = dict(re.findall(r"^    (\w+): .*?# (.*)$", (ROOT / path).read_text(), re.MULTILINE))
    rows: list[list[object]] = []
    for field in columns[0].__dataclass_fields__:
        values = [getattr(column, field) for column in columns]
        if field not in without and len(set(map(str, values))) > 1:
            rows.append([f"`{field}`", *(f"`{_plain(v)}`" for v in values), comments.get(field, "")])
    return rows


def istio() -> str:
    """The table of Istio's releases, with their bugs; the last column has none."""
    from gateway.envoy.compat import LATEST, TABLE, istio

    columns = [*(istio(name, bugs=True) for name in TABLE), TABLE[LATEST]]
    rows = _behaviours("gateway/envoy/compat.py", columns, without=("name",))
    return table(["behaviour", *(f"`{name}`" for name in TABLE), "without flags", ""], rows)


def istio_differences() -> str:
    """What Envoy gets from istiod and not from us, as `make test-istio` compares them."""
    path = ROOT / "tests" / "e2e" / "istio" / "differences.yaml"
    rows: list[list[object]] = [
        [row["what"][:1].upper() + row["what"][1:], row["why"]]
        for row in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]
    return table(["what differs", "why it stays"], rows)


def kinds() -> str:
    """Kinds that change traffic and are not simulated."""
    from gateway.manifests.told.kinds import CHANGING

    rows: list[list[object]] = [
        [f"`{kind}`", group, text[:1].upper() + text[1:]] for (group, kind), text in CHANGING.items()
    ]
    return table(["kind", "API group", "what follows"], rows)


def shapes() -> str:
    """The manifests of tests/gateway/stack/shapes, by their own first lines."""
    rows: list[list[object]] = []
    for path in sorted((ROOT / "tests" / "gateway" / "stack" / "shapes").glob("*.yaml")):
        what, comes = (line.removeprefix("# ") for line in path.read_text().splitlines()[:2])
        rows.append([f"`{path.stem}`", what.removesuffix("."), comes])
    return table(["shape", "what it is", "what comes of it"], rows)


def figures(part: str) -> str:
    """The figures of a part of the report, as their fields tell them; a distribution is one row."""
    from loadgen.judge.figures import Figures
    from loadgen.numbers.figure import named
    from loadgen.score.scorecard import Scorecard

    alone = ("prefix", "lora", "staleness")
    rows: dict[str, list[object]] = {}
    for found in (*named(Figures).values(), *named(Scorecard).values()):
        section = found.fields[0]
        place = section if section in ("latency", *alone) else "routing"
        if section in ("outcomes", "throughput", "goodput"):
            place = "outcomes"
        if place != part or (section == "latency" and not found.holder):
            continue
        path = found.path + ("[...]" if found.keyed else "")
        folded = found.holder and section in ("latency", "staleness")
        if folded:
            path = found.path.rpartition(".")[0] + (".*" if section == "staleness" else "")
        meaning = found.holder if folded else found.meaning
        better = found.figure.better or ""
        rows.setdefault(path, [f"`{path}`", meaning, found.unit, better])
    return table(["figure", "what it is", "unit", "better"], list(rows.values()))


def _plain(value: object) -> object:
    return (
        value.decode() or "empty"
        if isinstance(value, bytes)
        else value or "empty"
        if isinstance(value, str)
        else ", ".join(value)
        if isinstance(value, tuple)
        else value
    )


def causes() -> str:
    """doctor's table, a section a cause: a table of four columns hides the cure beyond the screen's edge."""
    from gateway.doctor.causes import CAUSES

    def sentence(text: str) -> str:
        return text.replace("<", "\\<").replace("*", "\\*").replace("|", "\\|")

    section = "### {}\n\nSeen: {}.\n\nCause: {}.\n\n**Cure:** {}.\n"
    return "\n".join(section.format(c.id, *map(sentence, (c.seen, c.cause, c.cure))) for c in CAUSES)


def loadgen_flags() -> str:
    """Every command of loadgen with its arguments."""
    from loadgen.cli import build_parser

    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    parts = []
    for name, parser in commands.choices.items():
        text = parser.description or helps.get(name, "")
        parts.append(
            f"## loadgen {name}\n\n{text[:1].upper()}{text[1:].rstrip('.')}.\n\n{_arguments(parser)}"
        )
    return "\n".join(parts)


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows: list[list[object]] = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help is argparse.SUPPRESS:
            continue
        shown = parser._get_formatter()._format_action_invocation(action)
        default = action.default if action.default not in (None, False, argparse.SUPPRESS, [], ()) else ""
        words = (action.help or "") % {**vars(action), "prog": parser.prog} if action.help else ""
        rows.append([f"`{shown}`", f"`{default}`" if default != "" else "", words])
    return table(["argument", "default", "what it does"], rows)


SERVER = "simulator.server"
LIMITS: tuple[tuple[str, str, str, str, str], ...] = (
    # what, where its value stands, unit, what is beyond it, how it is changed ("" where it is not)
    ("Replica: head of a request", f"{SERVER}.http.reader:MAX_HEAD", "bytes", "431",
     "`--h11-max-incomplete-event-size`"),
    ("Replica: headers of a request", f"{SERVER}.http.reader:MAX_HEADERS", "", "431",
     "`--h11-max-header-count`"),
    ("Replica: lists and objects of a body", f"{SERVER}.requests.validation:MAX_LISTS", "", "400", ""),
    ("Replica: strings of a body", f"{SERVER}.requests.validation:MAX_STRINGS", "", "400", ""),
    ("Replica: values of a body", f"{SERVER}.requests.validation:MAX_VALUES", "", "400", ""),
    ("Replica: time for a whole head", f"{SERVER}.http.connection:_HEAD_SECONDS", "s", "408", ""),
    ("Replica: time in which a body must go on", f"{SERVER}.http.connection:_BODY_SECONDS", "s", "408", ""),
    ("Replica: an idle connection", f"{SERVER}.http.listener:KEEP_ALIVE_SECONDS", "s", "closed", ""),
    ("Replica: a connection without a word", f"{SERVER}.http.connection:_SILENT_SECONDS", "s", "closed", ""),
    ("Replica: requests sent ahead on a connection", f"{SERVER}.http.connection:_AHEAD", "", "not read", ""),
    ("Replica: body", "simulator.config.serve:ServeConfig.max_request_body_size", "bytes", "413",
     "`--max-request-body-size-mb`"),
    ("Replica: depth of a body", f"{SERVER}.requests.validation:MAX_DEPTH", "levels", "400", ""),
    ("Replica: steps to invent a value for a schema or pattern", f"{SERVER}.answers.values.budget:MAX_STEPS",
     "", "400", ""),
    ("Replica: characters of an invented value", f"{SERVER}.answers.values.budget:MAX_CHARS", "", "400", ""),
    ("Everywhere: a process that was told to end and does not turn", "kit.watchdog:_GRACE_S", "s",
     "it ends with code 70", "`SIMFLEET_STUCK_SECONDS`"),
    ("Manifests: values of a YAML file, aliases written out", "kit.yamldoc:MOST_VALUES", "", "an error", ""),
    ("YAML: characters of a document", "kit.yamldoc:MOST_CHARACTERS", "", "an error", ""),
    ("Manifests: pods with an own address", "gateway.machine.ports:MAX_ADDRESSES", "", "an error", ""),
    ("Control socket: one line", "gateway.stack.socket:_LIMIT", "bytes", "an error", ""),
    ("loadgen: output kept of a command", "loadgen.run.timeline:OUTPUT_LIMIT", "characters", "cut", ""),
    ("loadgen: a body, no stream", "loadgen.client.limits:MOST_BODY", "bytes", "the request fails", ""),
    ("loadgen: one event of a stream", "loadgen.client.limits:MOST_EVENT", "bytes", "the request fails", ""),
    ("loadgen: events of a stream", "loadgen.client.limits:MOST_EVENTS", "", "the request fails", ""),
    ("loadgen: headers, trailers", "loadgen.client.limits:MOST_BARE", "bytes", "the request fails", ""),
    ("loadgen: a look at /metrics", "loadgen.run.scrape:TIMEOUT", "s", "a gap in the series", ""),
    ("loadgen: a listing command", "loadgen.run.scrape:FLEET_TIMEOUT", "s", "an error", ""),
)  # fmt: skip


def limits() -> str:
    """What may be asked at most, with the values that the code has."""
    rows: list[list[object]] = []
    for what, place, unit, beyond, change in LIMITS:
        module, _, path = place.partition(":")
        value: Any = importlib.import_module(module)
        for name in path.split("."):
            fields = getattr(value, "__dataclass_fields__", {})
            value = fields[name].default if name in fields else getattr(value, name)
        shown = f"{value:g}" if isinstance(value, float) else f"{value:,}".replace(",", " ")
        rows.append([what, f"{shown} {unit}".strip(), beyond, change or "in the code", f"`{module}`"])
    return table(["what", "at most", "beyond it", "how to change it", "where"], rows)


def lint_rules() -> str:
    from gateway.lint.finding import RULES

    rows: list[list[object]] = [
        [f"`{r.id}`", str(r.severity), r.title, r.defect or ""] for r in RULES.values()
    ]
    return table(["rule", "severity", "what it finds", "defect of the page"], rows)


def chart_values(chart: str) -> str:
    """Every value of a chart with its default and the comment above it."""
    text = (ROOT / "charts" / chart / "values.yaml").read_text()
    comments: dict[int, str] = {}
    pending: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("# "):
            pending.append(stripped[2:])
        else:
            if stripped and pending:
                comments[number] = " ".join(pending)
            pending = []
    rows: list[list[object]] = []
    _walk(yaml.compose(text), "", comments, rows)
    return table(["value", "default", "what it is"], rows)


def _walk(node: Any, prefix: str, comments: dict[int, str], rows: list[list[object]]) -> None:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        line = key.start_mark.line + 1
        if (
            isinstance(value, yaml.MappingNode)
            and value.value
            and name not in ("epp.config", "inferencePool.matchLabels")
        ):
            if line in comments and line > 2:
                rows.append([f"`{name}`", "", comments[line]])
            _walk(value, f"{name}.", comments, rows)
        else:
            plain = yaml.safe_load(yaml.serialize(value))
            shown = yaml.safe_dump(plain, default_flow_style=True, width=10**6).replace("\n...", "").strip()
            rows.append([f"`{name}`", f"`{shown}`", comments.get(line, "")])


MAKERS: dict[str, Callable[[], str]] = {
    "flags": flags,
    "loadgen-flags": loadgen_flags,
    "metrics": metrics,
    "profiles": profiles,
    "causes": causes,
    "compat": compat,
    "inert-flags": inert_flags,
    "istio": istio,
    "istio-differences": istio_differences,
    "kinds": kinds,
    "shapes": shapes,
    "picker-compat": picker_compat,
    "picker-fields": picker_fields,
    "picker-plugins": picker_plugins,
    "lint-rules": lint_rules,
    "limits": limits,
    **{
        f"figures/{part}": (lambda part=part: figures(part))
        for part in ("latency", "outcomes", "routing", "prefix", "lora", "staleness")
    },
    **{f"values/{c}": (lambda c=c: chart_values(c)) for c in ("simulator", "gateway", "loadgen", "lab")},
}


def render(text: str) -> str:
    """A page with its generated parts made anew."""
    return BLOCK.sub(lambda m: m[1] + "\n" + MAKERS[m["name"]]() + "\n" + m[3], text)


def schemas() -> dict[str, str]:
    """The files of docs/schemas by name."""
    from gateway.lint.editor_schema import NAME, schema
    from loadgen.schemas import SCHEMAS, schema_text

    texts = {name: schema_text(name) for name in SCHEMAS} | {NAME: json.dumps(schema(), indent=1)}
    return {f"{name}.schema.json": text + "\n" for name, text in texts.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a page is out of date"
    )
    args = parser.parse_args(argv)
    stale = []
    for path in sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/*/README.md")]):
        old = path.read_text()
        new = render(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(new)
    for name, text in schemas().items():
        path = ROOT / "docs" / "schemas" / name
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(text)
    for name in stale:
        print(f"{'out of date' if args.check else 'written'}: {name}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
