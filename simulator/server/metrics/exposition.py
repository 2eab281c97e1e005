"""GET /metrics from plain numbers through a template that is laid out once.

A template is literal text with gaps; what fills them is read from EngineStats at each scrape. Replicas that
differ only in their numbers share one template, so that a replica adds bytes, not a page of text.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kit.prometheus import escape, go_number, head, python_number
from simulator.config.compat import Compat, compat
from simulator.config.serve import ServeConfig
from simulator.engine.stats import EngineStats, Histogram
from simulator.server.metrics.cache_info import cache_config_labels
from simulator.server.metrics.fake_metrics import FakeStats
from simulator.server.metrics.families import (
    CACHE_HELP,
    CACHE_NAME,
    HELD_BY_REPLICA,
    REJECTIONS,
    families,
)
from simulator.server.metrics.family import Family
from simulator.server.metrics.features import TOOL_CALLS, feature_families
from simulator.server.metrics.http_metrics import HTTPMetrics
from simulator.server.metrics.lora_info import LoRAInfo
from simulator.server.metrics.process_metrics import ProcessMetrics
from simulator.server.timer import LAG_BUCKETS, LagHistogram

_LAG = (
    "simfleet_step_lag_seconds",
    "How late the simulator delivered engine steps; not a family of vLLM.",
)

Number = Callable[[float], str]
Reader = Callable[["Exposition", list[str]], None]


@dataclass(slots=True)
class Template:
    """`literals[i]` stands before gap i, the last one at the end; `readers` fill the gaps in order."""

    literals: list[str] = field(default_factory=lambda: [""])
    readers: list[Reader] = field(default_factory=list)

    def text(self, text: str) -> None:
        self.literals[-1] += text

    def gap(self) -> None:
        self.literals.append("")


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that two replicas must agree on to share a template."""

    go: bool  # client_golang's numbers, and no family that has seen nothing
    engine_label: bool
    model_name: str
    rank: int
    bounds: tuple[tuple[float, ...], ...]
    families: tuple[Family, ...]
    cache_labels: str
    lora: bool
    tool_calls: bool
    vllm: bool  # False: --disable-log-stats
    http: bool
    lag: bool
    created: bool

    @property
    def number(self) -> Number:
        return go_number if self.go else python_number


class Templates:
    """The templates of a process, by layout."""

    def __init__(self) -> None:
        self._known: dict[Layout, Template] = {}

    def get(self, layout: Layout) -> Template:
        template = self._known.get(layout)
        if template is None:
            template = self._known[layout] = _lay_out(layout)
        return template


def _families_of(config: ServeConfig, imitated: Compat) -> tuple[Family, ...]:
    """The families that a replica shows, in their order."""
    hidden = {"hidden"} if config.show_hidden_metrics else set()
    consumer = {"kv-consumer"} if config.kv_role in ("kv_consumer", "kv_both") else set()
    features = () if imitated.go_metrics else feature_families(config)
    name = imitated.families or imitated.name
    return (*features, *families(name, frozenset(hidden | consumer), config.metrics_compat is None))


class Exposition:
    """The /metrics of one replica."""

    def __init__(
        self,
        config: ServeConfig,
        stats: EngineStats,
        templates: Templates,
        *,
        rank: int = 0,
        http: HTTPMetrics | None = None,
        lag: LagHistogram | None = None,
        process: ProcessMetrics | None = None,
        created_series: bool = True,
    ) -> None:
        imitated = compat(config.metrics_compat or config.compat)
        python = not imitated.go_metrics
        self.stats = stats
        self._fake = stats if isinstance(stats, FakeStats) else None
        self.http = http or HTTPMetrics()
        self.lag = lag or LagHistogram()
        self.rejections: dict[str, int] = dict.fromkeys(REJECTIONS.children, 0)
        self.tool_calls: dict[str, int] = dict.fromkeys(TOOL_CALLS.children, 0)
        self.lora = self._lora_info(config, stats, imitated)
        if self._fake is not None and self.lora is not None:
            self.lora.show(self._fake.lora_series)
        self.created = python_number(time.time())
        self.content_type = imitated.metrics_content_type
        self._process = process if python else None
        self._templates = templates
        self._layout = Layout(
            go=imitated.go_metrics,
            engine_label=imitated.engine_label,
            model_name=escape(config.served_model_name),
            rank=rank or config.ranks.first,
            bounds=tuple(histogram.bounds for histogram in stats.histograms.values()),
            families=_families_of(config, imitated),
            cache_labels=cache_config_labels(config, imitated, rank or config.ranks.first),
            lora=self.lora is not None,
            tool_calls=bool(config.tool_call_parser) and imitated.recent_fields,
            vllm=not config.disable_log_stats,
            http=python,
            lag=config.metrics_compat is None,
            created=created_series and python,
        )

    @staticmethod
    def _lora_info(config: ServeConfig, stats: EngineStats, imitated: Compat) -> LoRAInfo | None:
        if not config.engine.enable_lora and not imitated.lora_gauge_always:
            return None
        # Without --metrics-compat the gauge means what endpoint pickers take it for.
        meaning = imitated.lora_gauge if config.metrics_compat else "current"
        return LoRAInfo(
            stats, config.engine.max_loras, meaning, whole_seconds=imitated.lora_gauge_whole_seconds
        )

    def render(self, overrides: Mapping[str, float] | None = None) -> bytes:
        """The body. `overrides` (family name -> value) falsify gauges and counters, for faults."""
        layout = self._layout
        if layout.go:
            layout = self._touched(layout)
        template = self._templates.get(layout)
        values: list[str] = []
        if self._fake is not None:
            self._fake.refresh()
        for read in template.readers:
            read(self, values)
        pieces = [""] * (2 * len(values) + 1)
        pieces[0::2] = template.literals
        pieces[1::2] = values
        text = "".join(pieces)
        if self._process is not None:
            text = self._process.render() + text
        if overrides:
            text = _falsified(text, overrides, layout.number)
        return text.encode()

    def _touched(self, layout: Layout) -> Layout:
        """The layout without families that have seen nothing.

        Go's vectors show no child before it is used.
        """
        shown = tuple(f for f in layout.families if f.shown_at_zero or _is_touched(f, self.stats))
        values = {slot: getattr(layout, slot) for slot in Layout.__slots__}
        return Layout(**(values | {"families": tuple(sorted(shown, key=lambda f: f.name))}))


def _is_touched(family: Family, stats: EngineStats) -> bool:
    if isinstance(family.source, str):
        return any(stats.histograms[family.source].counts)
    value = family.source(stats)
    return any(value) if isinstance(value, tuple | list) else bool(value)


def _lay_out(layout: Layout) -> Template:
    template = Template()
    if layout.vllm:
        for family in layout.families:
            _lay_out_family(template, layout, family)
        if layout.lora:
            template.gap()
            template.readers.append(_read_lora)
        template.text(head(CACHE_NAME, CACHE_HELP, "gauge"))
        template.text(f"{CACHE_NAME}{{{layout.cache_labels}}} {layout.number(1.0)}\n")
    if layout.tool_calls:
        _lay_out_family(template, layout, TOOL_CALLS)
    if layout.http:
        template.gap()
        created = layout.created
        template.readers.append(lambda exposition, out: out.append(exposition.http.render(created)))
    if layout.lag:
        _lay_out_buckets(template, _LAG[0], _LAG[1], LAG_BUCKETS, "")
        template.readers.append(_read_lag)
    return template


def _read_lora(exposition: Exposition, out: list[str]) -> None:
    out.append(exposition.lora.render() if exposition.lora is not None else "")


def _read_lag(exposition: Exposition, out: list[str]) -> None:
    lag = exposition.lag
    _append_histogram(out, lag.counts, lag.total, python_number)


def _labels(layout: Layout, family: Family, child: str = "") -> str:
    """The labels of a series in alphabetical order, with their braces."""
    labels = {"model_name": layout.model_name}
    if family.engine_label and layout.engine_label:
        labels["engine"] = str(layout.rank)
    if family.label:
        labels |= zip(family.label.split(","), child.split(","), strict=True)
    return "{" + ",".join(f'{name}="{labels[name]}"' for name in sorted(labels)) + "}"


def _lay_out_family(template: Template, layout: Layout, family: Family) -> None:
    children = family.children or ("",)
    series = [_labels(layout, family, child) for child in children]
    if isinstance(family.source, str):
        bounds = _bounds(layout, family.source)
        inner = series[0][1:-1]
        _lay_out_buckets(template, family.name, family.help, bounds, inner)
        template.readers.append(_histogram_reader(family.source, layout.number))
    else:
        template.text(head(family.exposed_name, family.help, family.kind))
        for labels in series:
            template.text(f"{family.exposed_name}{labels} ")
            template.gap()
            template.text("\n")
        template.readers.append(_number_reader(family, layout.number))
    if layout.created and family.kind != "gauge":
        template.text(head(family.name + "_created", family.help, "gauge"))
        for labels in series:
            template.text(f"{family.name}_created{labels} ")
            template.gap()
            template.text("\n")
        template.readers.append(_created_reader(len(series)))


def _bounds(layout: Layout, attribute: str) -> tuple[float, ...]:
    names = list(EngineStats(1).histograms)
    return layout.bounds[names.index(attribute)]


def _lay_out_buckets(
    template: Template, name: str, help_: str, bounds: tuple[float, ...], labels: str
) -> None:
    """The series of a histogram; `le` stands among the labels where the alphabet puts it."""
    template.text(head(name, help_, "histogram"))
    before = ",".join(part for part in labels.split(",") if part and part < "le")
    after = ",".join(part for part in labels.split(",") if part and part > "le")
    for bound in (*bounds, float("inf")):
        inner = ",".join(filter(None, (before, f'le="{python_number(bound)}"', after)))
        template.text(f"{name}_bucket{{{inner}}} ")
        template.gap()
        template.text("\n")
    plain = f"{{{labels}}}" if labels else ""
    for suffix in ("count", "sum"):
        template.text(f"{name}_{suffix}{plain} ")
        template.gap()
        template.text("\n")


def _number_reader(family: Family, number: Number) -> Reader:
    source = family.source
    assert not isinstance(source, str)
    if family in HELD_BY_REPLICA:
        attribute = "rejections" if family is REJECTIONS else "tool_calls"
        return lambda exposition, out: out.extend(map(number, getattr(exposition, attribute).values()))
    if family.label:
        return lambda exposition, out: out.extend(map(number, source(exposition.stats)))  # type: ignore[arg-type]
    return lambda exposition, out: out.append(number(source(exposition.stats)))  # type: ignore[arg-type]


def _created_reader(count: int) -> Reader:
    return lambda exposition, out: out.extend((exposition.created,) * count)


def _histogram_reader(attribute: str, number: Number) -> Reader:
    def read(exposition: Exposition, out: list[str]) -> None:
        histogram: Histogram = exposition.stats.histograms[attribute]
        _append_histogram(out, histogram.counts, histogram.total, number)

    return read


def _append_histogram(out: list[str], counts: list[int], total: float, number: Number) -> None:
    """Cumulative buckets, +Inf among them, then count and sum."""
    seen = 0
    text = number(0)
    for count in counts:
        if count:
            seen += count
            text = number(seen)
        out.append(text)
    out.append(text)
    out.append(number(total))


def _falsified(text: str, overrides: Mapping[str, float], number: Number) -> str:
    lines = text.split("\n")
    names = sorted(overrides)
    for index, line in enumerate(lines):
        name = line.partition("{")[0].partition(" ")[0]
        position = bisect_left(names, name)
        if position < len(names) and names[position] == name:
            lines[index] = f"{line.rpartition(' ')[0]} {number(overrides[name])}"
    return "\n".join(lines)
