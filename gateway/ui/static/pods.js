// Pods: what they do beside what the picker believes of them, and what they can be told.
import {html} from './vendor/lit-html/lit-html.js';
import {repeat} from './vendor/lit-html/directives/repeat.js';
import {set, short, store, toggleFilter} from './store.js';
import {act, ask, toast} from './wire.js';
import {num, percent, plain} from './say.js';

let sent = {}; // what the forms of further commands hold, by command

function rates() {
  const found = new Map();
  for (const way of store.state.flow.ways) found.set(way.place, (found.get(way.place) || 0) + way.rate);
  return found;
}

const tell = (command, args) => act('do', {do: command, arguments: args});

// a number beside the one that the picker believes; marked where they differ
function beside(value, believed) {
  if (value === undefined || value === null) return believed === undefined ? '' : html`<span class="believed">${num(believed)}</span>`;
  const off = believed !== undefined && believed !== value;
  return html`${num(value)}${believed === undefined ? '' : html` <span class="believed ${off ? 'off' : ''}" title="what the picker believes">${num(believed)}</span>`}`;
}

const sum = (list, key) => list.length ? list.reduce((total, item) => total + item[key], 0) : undefined;

function age(believed) {
  const ages = believed.map(b => b.age_s).filter(a => a !== null);
  if (!believed.length) return '';
  return ages.length ? `${num(1000 * Math.max(...ages))} ms` : 'never read';
}

function buttons(pod) {
  const can = name => name in store.commands;
  const gone = pod.state === 'killed' || pod.state === 'drained';
  return html`<span class="actions">
    ${can('kill') && !gone ? html`<button class="bad" data-do="kill" @click=${() => tell('kill', {name: pod.name})}>Kill</button>` : ''}
    ${can('drain') && !gone ? html`<button data-do="drain" @click=${() => tell('drain', {name: pod.name})}>Drain</button>` : ''}
    ${can('restart') ? html`<button data-do="restart" @click=${() => tell('restart', {name: pod.name})}>Restart</button>` : ''}
    <button data-do="metrics" @click=${() => metrics(pod.name)}>/metrics</button>
  </span>`;
}

async function metrics(pod) {
  try {
    const {text} = await ask('metrics', {pod});
    const lines = text.split('\n').filter(line => line.startsWith('vllm:') && !line.includes('_bucket') && !line.includes('_created'));
    set({sheet: {title: `/metrics of ${plain(pod)}`, text: lines.join('\n'), note: 'vLLM\'s families, without buckets'}});
  } catch (error) { toast(error.message, null, true); }
}

function row(pod, rate) {
  const believed = pod.believed || [];
  const kv = pod.kv_cache_usage;
  const on = store.filter.pod === pod.name;
  return html`<tr class=${on ? 'on' : ''} data-pod=${pod.name}>
    <td class="name"><button class="link" title=${plain(pod.name)} @click=${() => toggleFilter('pod', pod.name)}>
      <i class="dot ${pod.state}"></i>${plain(short(pod.name))}</button></td>
    <td data-l="state">${pod.state}${pod.role ? html` <span class="chip role">${plain(pod.role)}</span>` : ''}</td>
    <td data-l="running" class="n">${beside(pod.running, sum(believed, 'running'))}</td>
    <td data-l="waiting" class="n">${beside(pod.waiting, sum(believed, 'waiting'))}</td>
    <td data-l="KV" class="n"><span class="bar"><i .style=${`width:${100 * (kv || 0)}%`}></i></span> ${percent(kv)}
      ${believed.length ? html`<span class="believed" title="what the picker believes">${percent(believed[0].kv)}</span>` : ''}</td>
    <td data-l="hits" class="n">${percent(pod.prefix_cache_hit_rate)}</td>
    <td data-l="req/s" class="n">${num(rate)}</td>
    <td data-l="adapters" class="adapters">${plain((pod.adapters || []).join(' '))}
      ${believed.some(b => b.adapters.join() !== (pod.adapters || []).join()) ? html`<span class="believed off" title="what the picker believes">${plain(believed.flatMap(b => b.adapters).join(' ')) || 'none'}</span>` : ''}</td>
    <td data-l="read ago" class="n">${age(believed)}</td>
    <td class="do">${buttons(pod)}</td>
  </tr>`;
}

function scales() {
  const workloads = new Map();
  for (const pod of store.state.pods) workloads.set(pod.workload, (workloads.get(pod.workload) || 0) + 1);
  if (!('scale' in store.commands)) return '';
  return [...workloads].map(([name, count]) => html`<span class="scale" data-workload=${name}>
    <span title="Deployment or StatefulSet">${plain(name)}</span>
    <button aria-label="one pod less" ?disabled=${count === 0} @click=${() => tell('scale', {target: name, replicas: count - 1})}>−</button>
    <b>${count}</b>
    <button aria-label="one pod more" @click=${() => tell('scale', {target: name, replicas: count + 1})}>+</button>
  </span>`);
}

// commands that the stack has and no button above: a form of their arguments, whatever they are
function others() {
  const known = new Set(['kill', 'drain', 'restart', 'scale']);
  const more = Object.entries(store.commands).filter(([name]) => !known.has(name));
  if (!more.length) return '';
  return html`<details class="more"><summary>More: ${more.map(([name]) => name).join(', ')}</summary>
    ${more.map(([name, args]) => html`<form data-command=${name} @submit=${event => { event.preventDefault(); tell(name, given(name, args)); }}>
      <b>${plain(name)}</b>
      ${args.map(arg => html`<label>${plain(arg.name)}
        ${arg.kind === 'flag' ? html`<input type="checkbox" @change=${e => keep(name, arg.name, e.target.checked)}>`
          : html`<input type=${arg.kind === 'number' ? 'number' : 'text'} step="any" ?required=${arg.required} @input=${e => keep(name, arg.name, e.target.value)}>`}
      </label>`)}
      <button>Do</button></form>`)}</details>`;
}

function keep(command, name, value) { sent = {...sent, [command]: {...sent[command], [name]: value}}; }

function given(command, args) {
  const values = sent[command] || {};
  return Object.fromEntries(args.filter(a => values[a.name] !== undefined && values[a.name] !== '')
    .map(a => [a.name, a.kind === 'number' ? Number(values[a.name]) : values[a.name]]));
}

function pickers() {
  return store.state.pickers.map(picker => html`<span class="scale" data-picker=${picker.name}>
    <i class="dot ${picker.state === 'running' ? 'ready' : 'killed'}"></i>
    <span title=${plain(picker.name)}>picker ${plain(picker.name)}, ${picker.kind}, ${picker.state}</span>
    ${picker.state === 'running' && 'kill' in store.commands ? html`<button class="bad" @click=${() => tell('kill', {name: picker.name})}>Kill</button>` : ''}
    ${'restart' in store.commands ? html`<button @click=${() => tell('restart', {name: picker.name})}>Restart</button>` : ''}
  </span>`);
}

export function pods() {
  const {state} = store;
  const rate = rates();
  return html`<section class="panel pods" aria-label="pods">
    <h2>Pods <small>${state.prefix ? `${plain(state.prefix)}… ` : ''}<span class="believed">grey: what the picker believes</span></small></h2>
    <div class="toolbar">${scales()}${pickers()}</div>
    ${state.pods.length ? html`<table class="cards"><thead><tr>
      <th>pod</th><th>state</th><th class="n">running</th><th class="n">waiting</th><th class="n">KV</th><th class="n">hits</th>
      <th class="n">req/s</th><th>adapters</th><th class="n">read ago</th><th></th></tr></thead>
      <tbody>${repeat(state.pods, pod => pod.name, pod => row(pod, pod.places.reduce((n, place) => n + (rate.get(place) || 0), 0)))}</tbody></table>`
      : html`<p class="empty">No pods: no Deployment or StatefulSet is behind a pool, or all are scaled to 0.</p>`}
    ${others()}
  </section>`;
}
