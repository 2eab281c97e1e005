// Timeline: time to first token, throughput, queue and picks by pod; events marked; a drag filters by time.
import {html} from './vendor/lit-html/lit-html.js';
import {set, setFilter, short, shownRows, store, podAt} from './store.js';
import {clock, ms, num, plain} from './say.js';

const SERIES = 8; // pods with a line of their own; the rest is one
const SPANS = [[60, '1 min'], [300, '5 min'], [900, '15 min']];
const charts = new Map();
let span = 300;

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = i => css(`--c${i % SERIES}`);

export function timeline() {
  return html`<section class="panel timeline" aria-label="timeline">
    <h2>Timeline <small>${filtered() ? `of the last ${store.rows.size} requests, filtered` : 'by second; drag to filter by time'}</small>
      <span class="right">${SPANS.map(([s, label]) => html`<button class="chip ${span === s ? 'on' : ''}" @click=${() => { span = s; set({}); }}>${label}</button>`)}</span></h2>
    <div class="charts">
      ${Object.keys(KINDS).map(kind => html`<figure><figcaption>${KINDS[kind].title}</figcaption><div class="chart" data-chart=${kind}></div></figure>`)}
    </div>
    <details class="events"><summary>${store.events.length} events${store.events.length ? `, last: ${plain(store.events.at(-1).text).slice(0, 90)}` : ''}</summary>
      <ol>${[...store.events].reverse().slice(0, 60).map(event => html`<li><time>${clock(event.t) || 'before'}</time> ${plain(event.text)}</li>`)}</ol>
    </details>
  </section>`;
}

const filtered = () => ['pod', 'gateway', 'route', 'cluster', 'kind', 'model', 'q'].some(key => store.filter[key]);

const quantile = (values, share) => values.length ? values[Math.min(Math.floor(share * values.length), values.length - 1)] : null;

// the points, or, under a filter, seconds made of the requests that it leaves
function points() {
  if (!filtered()) return store.points;
  const seconds = new Map(store.points.map(p => [Math.floor(p.t), {...p, n: 0, bad: 0, p50: null, p90: null, picks: {}, times: []}]));
  for (const row of shownRows()) {
    const second = seconds.get(Math.floor(row.time));
    if (!second) continue;
    second.n += 1;
    if (row.status >= 400 || row.status === 0) second.bad += 1;
    if (row.ttft !== null && row.ttft !== undefined) second.times.push(row.ttft);
    if (row.pick) second.picks[row.pick] = (second.picks[row.pick] || 0) + 1;
  }
  for (const second of seconds.values()) {
    second.times.sort((a, b) => a - b);
    second.p50 = quantile(second.times, 0.5); second.p90 = quantile(second.times, 0.9);
  }
  return [...seconds.values()];
}

const KINDS = {
  ttft: {title: 'Time to first byte, ms', series: () => [['p50', 0], ['p90', 1]], values: p => [p.p50, p.p90], unit: ms},
  rate: {title: 'Requests/s, failed, tokens/s ÷ 100', series: () => [['requests', 0], ['failed', 'bad'], ['tokens ÷ 100', 2]], values: p => [p.n, p.bad, p.tokens / 100], unit: num},
  queue: {title: 'Running, waiting', series: () => [['running', 0], ['waiting', 3]], values: p => [p.running, p.waiting], unit: num},
  picks: {title: 'Picks/s by pod', series: picked, values: null, unit: num},
};

function picked(list) {
  const sums = new Map();
  for (const point of list) for (const [place, n] of Object.entries(point.picks)) sums.set(podAt(place), (sums.get(podAt(place)) || 0) + n);
  const names = [...sums.keys()].sort();
  const lines = names.length <= SERIES ? names : names.sort((a, b) => sums.get(b) - sums.get(a)).slice(0, SERIES - 1).sort();
  return [...lines.map((name, i) => [short(name), i, name]), ...(names.length > SERIES ? [['others', 'muted', null]] : [])];
}

function columns(kind, list, series) {
  if (KINDS[kind].values) {
    const rows = list.map(KINDS[kind].values);
    return series.map((_, i) => rows.map(row => row[i] ?? null));
  }
  const named = new Set(series.map(s => s[2]).filter(Boolean));
  return series.map(([, , name]) => list.map(point => Object.entries(point.picks)
    .reduce((sum, [place, n]) => sum + (name ? podAt(place) === name : !named.has(podAt(place))) * n, 0)));
}

// seconds with a value between two without: no line reaches them, so they are dots
function lone(plot, s) {
  const values = plot.data[s];
  return [...values.keys()].filter(i => values[i] != null && values[i - 1] == null && values[i + 1] == null);
}

function options(kind, series, width) {
  const axis = {stroke: css('--muted'), grid: {stroke: css('--line'), width: 1}, ticks: {show: false}, font: '11px system-ui'};
  return {
    width, height: 150, legend: {show: true, live: true}, padding: [8, 26, 0, 0],
    cursor: {sync: {key: 'time'}, drag: {x: true, y: false, setScale: false}, points: {size: 5}},
    scales: {x: {time: true}, y: {range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.05]}},
    axes: [{...axis, size: 24, space: 60, values: (_, ticks) => ticks.map(t => clock(t))},
      {...axis, size: 44, values: (_, ticks) => ticks.map(t => num(t))}],
    series: [{value: (_, t) => clock(t)}, ...series.map(([label, c]) => ({
      label: plain(label), stroke: c === 'bad' ? css('--bad') : c === 'muted' ? css('--muted') : colour(c), width: 1.5,
      spanGaps: false, points: {show: true, size: 4, width: 0, fill: (plot, s) => plot.series[s].stroke(plot, s), filter: lone}, value: (_, v) => v === null ? '' : KINDS[kind].unit(v)}))],
    hooks: {
      setSelect: [plot => {
        if (plot.select.width < 4) return;
        setFilter({from: plot.posToVal(plot.select.left, 'x'), to: plot.posToVal(plot.select.left + plot.select.width, 'x')});
        plot.setSelect({width: 0, height: 0}, false);
      }],
      draw: [marks],
    },
  };
}

// a line for each event, and the time that the filter leaves
function marks(plot) {
  const {ctx, bbox} = plot;
  ctx.save();
  const {from, to} = store.filter;
  if (from) {
    ctx.fillStyle = css('--accent-soft');
    const left = Math.max(bbox.left, plot.valToPos(from, 'x', true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true));
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  for (const event of store.events) {
    if (!event.t || event.t < plot.scales.x.min || event.t > plot.scales.x.max) continue;
    const x = Math.round(plot.valToPos(event.t, 'x', true));
    ctx.strokeStyle = /killed|died|ended/.test(event.text) ? css('--bad') : css('--accent');
    ctx.setLineDash([3, 3]);
    ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
  }
  ctx.restore();
}

// after each rendering: charts are made where they are missing and given what there is
export function drawCharts() {
  const hosts = document.querySelectorAll('[data-chart]');
  if (!hosts.length) { for (const chart of charts.values()) chart.plot.destroy(); charts.clear(); return; }
  const end = store.points.at(-1)?.t || Date.now() / 1000;
  const list = points().filter(p => p.t > end - span);
  for (const host of hosts) {
    const kind = host.dataset.chart, series = KINDS[kind].series(list);
    const width = Math.max(200, host.clientWidth);
    const key = JSON.stringify([series, width, matchMedia('(prefers-color-scheme: dark)').matches]);
    const data = [list.map(p => p.t), ...columns(kind, list, series)];
    let chart = charts.get(kind);
    if (!chart || chart.key !== key || !host.contains(chart.plot.root)) {
      chart?.plot.destroy();
      host.replaceChildren();
      chart = {key, plot: new uPlot(options(kind, series, width), data, host)};
      charts.set(kind, chart);
    } else {
      chart.plot.setData(data, false);
    }
    chart.plot.setScale('x', {min: Math.max(end - span, Math.min(store.points[0]?.t ?? end, end - 60)), max: end});
  }
}
