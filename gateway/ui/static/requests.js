// Requests: the last of them, and the decision behind one.
import {html} from './vendor/lit-html/lit-html.js';
import {repeat} from './vendor/lit-html/directives/repeat.js';
import {kindOf, set, setFilter, short, shownRows, store, toggleFilter} from './store.js';
import {ask, toast} from './wire.js';
import {clock, copy, ms, num, percent, plain, scorerNames} from './say.js';

const FIRST = 100; // rows that are drawn at once
let most = FIRST, frozen = null;

export async function openRequest(id) {
  set({open: id, decision: null});
  try { set({decision: await ask('decision', {id})}); } catch (error) { set({open: null}); toast(error.message, null, true); }
}

// a decision that was opened before its request was answered is read again
export function freshen() {
  const {open, decision: told, rows} = store;
  if (!open || !told || told.served || told.again || rows.get(open)?.status === undefined) return;
  told.again = true;
  ask('decision', {id: open}).then(decision => { if (store.open === open) set({decision}); }).catch(() => {});
}

export function closeRequest() { set({open: null, decision: null}); }

export function step(by) {
  const rows = (frozen || shownRows()).slice(0, most);
  const at = rows.findIndex(row => row.id === store.open);
  const next = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
  if (next) openRequest(next.id);
}

function line(row) {
  const kind = kindOf(row);
  const word = row.cause || row.reason || '';
  return html`<tr class=${row.id === store.open ? 'on' : ''} data-id=${row.id} tabindex="0"
      @click=${() => openRequest(row.id)} @keydown=${event => { if (event.key === 'Enter') openRequest(row.id); }}>
    <td data-l="time">${clock(row.time, true)}</td>
    <td class="name" title=${plain(row.client_id || row.id)}>${plain((row.client_id || row.id).split('/').pop()).slice(0, 20)}</td>
    <td data-l="model" class="model" title=${plain(row.model)}>${plain(row.model)}</td>
    <td data-l="class">${plain(row.objective || (row.priority ? `priority ${row.priority}` : ''))}</td>
    <td data-l="pod">${plain(short(row.pod || row.served || ''))}${row.as_picked === false ? html` <span class="chip bad" title="another pod than the picked one answered">not as picked</span>` : ''}</td>
    <td data-l="status" class="n"><span class="status k${kind}">${row.status ?? '…'}</span></td>
    <td data-l="TTFT" class="n">${ms(row.ttft)}</td>
    <td data-l="whole" class="n">${ms(row.ms)}</td>
    <td data-l="reason"><span class="chip ${row.cause ? 'bad' : ''}">${plain(word)}</span></td>
  </tr>`;
}

export function requests() {
  const rows = frozen || shownRows();
  const kinds = [...new Set([...store.rows.values()].map(kindOf))].sort();
  const models = [...new Set([...store.rows.values()].map(row => row.model).filter(Boolean))].sort();
  return html`<section class="panel requests" aria-label="requests">
    <h2>Requests <small>${rows.length} of the last ${store.rows.size}</small>
      <button class="chip right ${frozen ? 'on' : ''}" @click=${() => { frozen = frozen ? null : shownRows(); set({}); }}>${frozen ? 'frozen: go on' : 'freeze'}</button></h2>
    <div class="toolbar">
      <input type="search" id="search" placeholder="id, pod, model, prefix …   /" aria-label="search" .value=${store.filter.q || ''}
        @input=${event => setFilter({q: event.target.value})}>
      ${kinds.map(kind => html`<button class="chip k${kind} ${store.filter.kind === kind ? 'on' : ''}" @click=${() => toggleFilter('kind', kind)}>${kind}</button>`)}
      ${models.length > 1 ? html`<select aria-label="model" @change=${event => setFilter({model: event.target.value})}>
        <option value="">every model</option>${models.map(model => html`<option .value=${model} ?selected=${store.filter.model === model}>${plain(model)}</option>`)}</select>` : ''}
    </div>
    ${rows.length ? html`<table class="cards rows"><thead><tr><th>time</th><th>request</th><th>model</th><th>class</th><th>pod</th>
        <th class="n">status</th><th class="n">TTFT</th><th class="n">whole</th><th>reason</th></tr></thead>
      <tbody>${repeat(rows.slice(0, most), row => row.id, line)}</tbody></table>
      ${rows.length > most ? html`<button class="chip" @click=${() => { most = 500; set({}); }}>show all ${rows.length}</button>` : ''}`
      : html`<p class="empty">${store.rows.size ? 'No request fits the filter.' : html`No requests yet. Start a load, or send one:${example()}`}</p>`}
  </section>`;
}

function example() {
  const curl = store.state.gateways.map(gateway => gateway.curl).find(Boolean);
  return curl ? html`<code class="block">${plain(curl)}</code>` : '';
}

// parts of a total as one bar: what each scorer added
function stack(row, names, most) {
  return html`<span class="stack" role="img" aria-label=${`total ${num(row.total)}`}>${names.map((name, i) => row.parts[name] > 0
    ? html`<i class="s${i % 8}" .style=${`width:${100 * row.parts[name] / most}%`} title=${`${name}: score ${num(row.scores[name])} × weight = ${num(row.parts[name])}`}></i>` : '')}</span>
    <small class="muted parts">${names.map(name => num(row.parts[name])).join(' + ')}</small>`;
}

function candidates(told) {
  const names = Object.keys(told.weights), shown = scorerNames(names);
  const most = Math.max(...told.rows.map(row => row.total || 0), 1e-9);
  return html`<div class="legend">${names.map((name, i) => html`<span title=${plain(name)}><i class="s${i % 8}"></i>${plain(shown[name])} × ${num(told.weights[name])}</span>`)}</div>
    <div class="scroll"><table class="candidates"><thead><tr><th>pod</th><th>score × weight</th><th class="n">total</th><th class="n">wait</th><th class="n">run</th>
      <th class="n">KV</th><th class="n">prefix</th><th class="n">age</th></tr></thead>
    <tbody>${told.rows.map(row => html`<tr class="${row.picked ? 'picked' : ''} ${row.total === null ? 'out' : ''}" data-candidate=${row.endpoint}>
      <td title=${plain(`${row.pod} ${row.endpoint}`)}>${row.picked ? '▸ ' : ''}${plain(short(row.pod))}</td>
      <td>${row.total === null ? html`<span class="chip">out: ${plain(row.removed_by || 'a filter')}</span>` : stack(row, names, most)}</td>
      <td class="n">${num(row.total, 4)}</td><td class="n">${row.waiting}</td><td class="n">${row.running}</td>
      <td class="n">${percent(row.kv_usage)}</td><td class="n">${row.prefix[1] ? `${row.prefix[0]}/${row.prefix[1]}` : ''}</td>
      <td class="n">${row.age_ms === null ? 'never' : ms(row.age_ms)}</td></tr>`)}</tbody></table></div>
    ${told.shown < told.candidates ? html`<p class="muted">${told.shown} of ${told.candidates} candidates; <code>up --decision-log FILE</code> writes all.</p>` : ''}`;
}

function fact(name, value) { return value === null || value === undefined || value === '' ? '' : html`<div><dt>${name}</dt><dd>${value}</dd></div>`; }

export function decision() {
  if (!store.open) return '';
  const told = store.decision;
  if (!told) return html`<aside class="drawer" aria-label="decision"><p class="muted">reading…</p></aside>`;
  const {served} = told;
  const removed = Object.entries(told.removed || {}).map(([name, n]) => `${name} took out ${n}`).join(', ');
  return html`<aside class="drawer" aria-label="decision" tabindex="-1">
    <header><h2>${plain((told.client_id || told.request_id).split('/').pop())}</h2>
      <button aria-label="close" class="close" @click=${closeRequest}>×</button></header>
    ${told.sentence ? html`<p class="sentence">${plain(told.sentence)}</p>` : html`<p class="muted">No picker wrote a decision about this request.</p>`}
    ${told.rows.length ? candidates(told) : ''}
    <dl>
      ${fact('reason', html`<span data-reason>${plain(told.reason)}</span>`)}
      ${fact('margin', told.margin === null ? '' : `${num(told.margin)} over ${plain(short(told.rival))}`)}
      ${fact('tied', told.tied > 1 ? `${told.tied} candidates` : '')}
      ${fact('filters', plain(removed))}
      ${fact('prefix', told.begins ? html`<button class="chip" title="requests whose prompts begin alike" @click=${() => { closeRequest(); setFilter({q: `prefix:${told.begins}`}); }}>${plain(told.begins)}</button> ${told.prefix[0]} of ${told.prefix[1]} blocks` : '')}
      ${fact('picker', plain([told.picker, told.profile && `profile ${told.profile}`].filter(Boolean).join(', ')))}
      ${fact('decided in', told.decide_us ? ms(told.decide_us / 1000) : '')}
      ${fact('model', plain(told.model))}
      ${fact('objective', plain(told.objective))}
      ${fact('priority', told.rows.length ? told.priority : '')}
      ${fact('body', told.size_bytes ? `${told.size_bytes} bytes` : '')}
      ${fact('request', html`<code>${plain(told.request_id)}</code>`)}
      ${fact('client', told.client_id ? html`<code>${plain(told.client_id)}</code>` : '')}
    </dl>
    ${served ? html`<h3>What became of it</h3><dl>
      ${fact('status', html`<span class="status k${Math.floor(served.status / 100)}xx">${served.status || 'none'}</span> ${plain(served.flags === '-' ? '' : served.flags)}`)}
      ${fact('served by', html`${plain(short(served.pod || served.served) || 'nobody')} ${served.as_picked === true ? 'as picked' : served.as_picked === false ? html`<span class="chip bad">not as picked</span>` : ''}`)}
      ${fact('waited for picker', ms(served.picker_ms))}
      ${fact('first byte', ms(served.first_byte_ms))}
      ${fact('whole', ms(served.duration_ms))}
      ${fact('cause', served.cause ? html`<b class="badtext">${served.cause}</b>: ${served.why}` : '')}
      ${fact('cure', served.cure)}
    </dl>` : html`<p class="muted">Not answered yet.</p>`}
    ${told.curl ? html`<h3>As curl <button class="chip" @click=${async () => toast(await copy(told.curl) ? 'copied' : 'the browser does not let this page copy', null)}>copy</button></h3>
      <code class="block">${plain(told.curl)}</code><p class="muted">No log keeps prompts: put one in place of the dots.</p>` : ''}
  </aside>`;
}
