// Flow: gateway -> listener -> rule -> pool -> picker -> pods, with requests a second on the edges.
import {html, svg} from './vendor/lit-html/lit-html.js';
import {repeat} from './vendor/lit-html/directives/repeat.js';
import {podAt, poolOf, short, store, toggleFilter} from './store.js';
import {ms, num, plain} from './say.js';

const MANY = 12; // pods: beyond that each is a cell of a map and no longer a box

// nodes by column, and edges {from, to, rate, bad} between their ids
export function graph(state) {
  const columns = {gateway: new Map(), listener: new Map(), rule: new Map(), pool: new Map(), picker: new Map(), pod: new Map()};
  const edges = new Map();
  const node = (column, id, more) => {
    const map = columns[column];
    if (!map.has(id)) map.set(id, {id: `${column}:${id}`, name: id, rate: 0, bad: 0, ...more});
    return map.get(id);
  };
  const link = (from, to, way) => {
    const key = `${from.id}\n${to.id}`;
    const edge = edges.get(key) || {from: from.id, to: to.id, rate: 0, bad: 0};
    if (way) { edge.rate += way.rate; edge.bad += way.failed; }
    edges.set(key, edge);
  };
  for (const gateway of state.gateways) {
    const from = node('gateway', `${gateway.namespace}/${gateway.name}`, {filter: ['gateway', `${gateway.namespace}/${gateway.name}`]});
    for (const x of gateway.listeners) link(from, node('listener', `${gateway.namespace}/${gateway.name}:${x.port}`, {label: `:${x.port}`, note: x.hostnames.join(', ')}));
  }
  for (const pool of state.pools) {
    const at = node('pool', pool.name, {pool: true, note: pool.failure_mode || 'no picker'});
    const picker = state.pickers.find(p => p.name === pool.picker);
    const via = picker ? node('picker', picker.name, {label: 'picker', dead: picker.state !== 'running', note: `${picker.kind}, ${picker.state}`}) : null;
    if (via) link(at, via);
    for (const pod of state.pods.filter(p => p.pool === pool.name)) {
      link(via || at, node('pod', pod.name, {label: short(pod.name), state: pod.state, filter: ['pod', pod.name]}));
    }
  }
  for (const raw of state.flow.ways) {
    const way = {...raw, failed: /^[23]/.test(raw.kind) ? 0 : raw.rate};
    const passed = [];
    passed.push(node('gateway', way.gateway, {filter: ['gateway', way.gateway]}));
    passed.push(node('listener', `${way.gateway}:${way.port}`, {label: `:${way.port}`}));
    const rule = way.route || 'no rule';
    passed.push(node('rule', rule, {filter: ['route', way.route]}));
    const pool = way.cluster ? poolOf(way.cluster) : null;
    if (way.cluster) passed.push(node('pool', pool?.name || way.cluster, {label: pool?.name || serviceOf(way.cluster), filter: ['cluster', way.cluster]}));
    if (pool?.picker && columns.picker.has(pool.picker)) passed.push(node('picker', pool.picker));
    if (way.place) passed.push(node('pod', podAt(way.place), {label: short(podAt(way.place)), filter: ['pod', podAt(way.place)]}));
    passed.forEach((at, i) => { at.rate += way.rate; at.bad += way.failed; at.filter ||= i === 3 && way.cluster ? ['cluster', way.cluster] : at.filter; if (i) link(passed[i - 1], at, way); });
  }
  return {columns, edges: [...edges.values()]};
}

function serviceOf(cluster) { return cluster.split('|').pop().split('.')[0] || cluster; }

const TITLES = {gateway: 'Gateway', listener: 'Listener', rule: 'Rule', pool: 'Pool', picker: 'Picker', pod: 'Pods'};

function hop(column, hops) {
  const {whole, first_byte: first, picker, deciding} = hops;
  if (column === 'gateway' && whole) return `whole ${ms(whole.p50)}`;
  if (column === 'picker' && picker) return `+${ms(picker.p50)}${deciding ? `, deciding ${ms(deciding.p50)}` : ''}`;
  if (column === 'pod' && first) return `first byte +${ms(Math.max(0, first.p50 - (picker?.p50 || 0)))}`;
  return '';
}

const health = x => x.dead || x.state === 'killed' ? 'bad' : x.rate && x.bad / x.rate > 0.01 ? 'bad' :
  x.bad ? 'warn' : x.state && x.state !== 'ready' ? 'warn' : x.rate ? 'ok' : 'idle';

function box(x) {
  const [key, value] = x.filter || [];
  const on = key && store.filter[key] === value;
  return html`<button class="node ${health(x)} ${on ? 'on' : ''}" data-node=${x.id} ?disabled=${!key}
      title=${plain(x.name)} aria-pressed=${on ? 'true' : 'false'} @click=${() => toggleFilter(key, value)}>
    <b>${plain(x.label ?? x.name)}</b>
    <span>${x.rate ? `${num(x.rate)}/s` : x.state && x.state !== 'ready' ? x.state : x.note ? plain(x.note) : ''}</span>
  </button>`;
}

function podMap(nodes) {
  const most = Math.max(...nodes.map(x => x.rate), 1e-9);
  return html`<div class="podmap" data-node="pod:all">${repeat(nodes, x => x.id, x => html`
    <button class="cell ${health(x)} ${store.filter.pod === x.name ? 'on' : ''}" .style=${`--share:${(x.rate / most).toFixed(2)}`}
      title=${`${plain(x.name)}  ${num(x.rate) || 0}/s  ${x.state || ''}`} aria-label=${plain(x.label ?? x.name)}
      @click=${() => toggleFilter('pod', x.name)}></button>`)}</div>
    <p class="muted">${nodes.length} pods, the darker the more requests</p>`;
}

export function flow() {
  const {state} = store;
  const {columns, edges} = graph(state);
  const many = columns.pod.size > MANY;
  return html`<section class="panel flow" aria-label="flow">
    <h2>Flow <small>requests a second over the last ${state.flow.window_s} s; a click filters</small></h2>
    <div class="columns">
      <svg class="edges" aria-hidden="true"></svg>
      ${Object.entries(columns).map(([name, nodes]) => html`<div class="column ${name}">
        <h3>${TITLES[name]} <small>${hop(name, state.flow.hops)}</small></h3>
        <div class="nodes">${name === 'pod' && many ? podMap([...nodes.values()]) : [...nodes.values()].map(box)}
        ${nodes.size ? '' : html`<p class="muted">${name === 'rule' ? 'no traffic yet' : 'none'}</p>`}</div>
      </div>`)}
    </div>
    ${edgeData(edges, many)}
  </section>`;
}

let pending = [];
function edgeData(edges, many) {
  pending = many ? merged(edges) : edges;
  return '';
}

function merged(edges) {
  const found = new Map();
  for (const edge of edges) {
    const to = edge.to.startsWith('pod:') ? 'pod:all' : edge.to;
    const one = found.get(`${edge.from}\n${to}`) || {from: edge.from, to, rate: 0, bad: 0};
    one.rate += edge.rate; one.bad += edge.bad;
    found.set(`${edge.from}\n${to}`, one);
  }
  return [...found.values()];
}

// lines between the boxes, where they stand once the page is laid out
export function drawEdges(render) {
  const canvas = document.querySelector('.flow .edges');
  if (!canvas) return;
  const frame = canvas.parentElement.getBoundingClientRect();
  const boxes = new Map([...document.querySelectorAll('.flow [data-node]')].map(b => [b.dataset.node, b.getBoundingClientRect()]));
  const down = matchMedia('(max-width: 760px)').matches;
  canvas.setAttribute('width', frame.width); canvas.setAttribute('height', frame.height);
  const lines = pending.filter(e => boxes.has(e.from) && boxes.has(e.to)).map(edge => {
    const a = boxes.get(edge.from), b = boxes.get(edge.to);
    const [x1, y1, x2, y2] = down
      ? [a.left + a.width / 2, a.bottom, b.left + b.width / 2, b.top]
      : [a.right, a.top + a.height / 2, b.left, b.top + b.height / 2];
    const [fx, fy, tx, ty] = [x1 - frame.left, y1 - frame.top, x2 - frame.left, y2 - frame.top];
    const path = down ? `M${fx} ${fy}C${fx} ${(fy + ty) / 2} ${tx} ${(fy + ty) / 2} ${tx} ${ty}`
      : `M${fx} ${fy}C${(fx + tx) / 2} ${fy} ${(fx + tx) / 2} ${ty} ${tx} ${ty}`;
    const kind = !edge.rate ? 'idle' : edge.bad / edge.rate > 0.01 ? 'bad' : edge.bad ? 'warn' : 'ok';
    return svg`<path class=${kind} d=${path} stroke-width=${(1 + 1.6 * Math.log2(1 + edge.rate)).toFixed(1)}></path>
      ${edge.rate && !down && pending.length < 40 ? svg`<text x=${(fx + 2 * tx) / 3} y=${(fy + 2 * ty) / 3 - 4}>${num(edge.rate)}</text>` : ''}`;
  });
  render(svg`${lines}`, canvas);
}
