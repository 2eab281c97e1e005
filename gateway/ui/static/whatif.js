// What if: other weights on the last decisions, as the picker would add them up; export and apply.
import {html} from './vendor/lit-html/lit-html.js';
import {set, short, store} from './store.js';
import {act, ask, toast} from './wire.js';
import {clock, copy, num, percent, plain, scorerNames} from './say.js';
import {openRequest} from './requests.js';

const PICKERS = ['max-score-picker', 'weighted-random-picker', 'random-picker', 'least-request-picker'];
const wanted = {weights: {}, picker: null, last: 500};
let result = null, problem = null, asking = false, again = false, asked = 0, scenario = 'hot-prefix';

async function compute() {
  if (asking) { again = true; return; }
  asking = true;
  try { result = await ask('whatif', wanted); problem = null; asked = store.rows.size; }
  catch (error) { problem = error.message; }
  asking = false;
  set({});
  if (again) { again = false; compute(); }
}

export function refresh() { if (store.tab === 'whatif' && !asking) compute(); }

function weigh(name, value) {
  wanted.weights = {...wanted.weights, [name]: Math.max(0, Number(value) || 0)};
  compute();
}

function reset() { wanted.weights = {}; wanted.picker = null; compute(); }

const pickerName = () => store.state.pickers.find(p => p.decision_log)?.name || '';

async function exported() {
  try {
    const {yaml} = await ask('export', {...wanted, name: pickerName()});
    set({sheet: {title: 'EndpointPickerConfig', text: yaml, note: 'simfleet up --epp-config FILE takes it', file: 'epp-config.yaml'}});
  } catch (error) { toast(error.message, null, true); }
}

async function apply() {
  if (await act('apply', {...wanted, name: pickerName()})) { wanted.weights = {}; wanted.picker = null; setTimeout(compute, 1500); }
}

function sliders() {
  const names = Object.keys(result.logged_weights), shown = scorerNames(names);
  return names.map(name => {
    const value = result.weights[name], was = result.logged_weights[name];
    const most = Math.max(10, 2 * was, value);
    return html`<label class="slider" data-scorer=${name}><span title=${plain(name)}>${plain(shown[name])}</span>
      <input type="range" min="0" max=${most} step="0.1" .value=${String(value)} @input=${e => weigh(name, e.target.value)}>
      <input type="number" min="0" step="any" .value=${String(value)} aria-label=${`weight of ${plain(name)}`} @change=${e => weigh(name, e.target.value)}>
      <small>${value === was ? '' : `was ${num(was)}`}</small></label>`;
  });
}

function spread() {
  const most = Math.max(...Object.values(result.before), ...Object.values(result.after), 1);
  const pods = Object.keys(result.after);
  const rows = pods.map(pod => [pod, result.before[pod] || 0, result.after[pod]]);
  if (pods.length > 30) rows.sort((a, b) => Math.abs(b[2] - b[1]) - Math.abs(a[2] - a[1])).splice(30);
  return html`<div class="scroll"><table class="spread"><thead><tr><th>pod</th><th>picks, and what they would be</th><th class="n">picks</th><th class="n">would be</th><th class="n">change</th></tr></thead>
    <tbody>${rows.map(([pod, before, after]) => html`<tr data-spread=${pod}><td title=${plain(pod)}>${plain(short(pod))}</td>
      <td class="two"><i class="was" .style=${`width:${100 * before / most}%`}></i><i class="is" .style=${`width:${100 * after / most}%`}></i></td>
      <td class="n">${num(before)}</td><td class="n">${num(after)}</td><td class="n">${after === before ? '' : `${after > before ? '+' : ''}${num(after - before)}`}</td></tr>`)}</tbody></table></div>
    ${pods.length > 30 ? html`<p class="muted">the 30 of ${pods.length} pods that change most</p>` : ''}`;
}

async function simulate() {
  try { set({simulation: await ask('simulate', {...wanted, scenario, name: pickerName()})}); }
  catch (error) { toast(error.message, null, true); }
}

async function stopSimulation() {
  try { set({simulation: await ask('end_simulation')}); } catch (error) { toast(error.message, null, true); }
}

const seconds = spread => name => spread ? `${num(1000 * spread[name])} ms` : '-';
const FIGURES = [
  ['answers', arm => `${num(arm.outcomes.ok || 0)} of ${num(arm.requests)}`],
  ['TTFT p50', arm => seconds(arm.latency_s.ttft)('p50')], ['TTFT p95', arm => seconds(arm.latency_s.ttft)('p95')],
  ['TPOT p95', arm => seconds(arm.latency_s.tpot)('p95')], ['E2E p95', arm => seconds(arm.latency_s.e2e)('p95')],
  ['prompt tokens cached', arm => percent(arm.cached_share)],
  ['busiest pod', arm => percent(Math.max(0, ...Object.values(arm.pods)))],
];

function simulation() {
  const {running, arms, problem, progress, scenario: which, weights} = store.simulation;
  const columns = arms ? ['today', 'sliders'].filter(name => arms[name]) : [];
  const shown = weights ? scorerNames(Object.keys(weights)) : {};
  return html`<h3>In virtual time</h3>
    <div class="toolbar"><label>scenario <select aria-label="simulated scenario" @change=${e => { scenario = e.target.value; set({}); }}>
      ${store.scenarios.map(s => html`<option .value=${s.name} ?selected=${s.name === scenario}>${plain(s.name)}</option>`)}</select></label>
      ${running ? html`<button class="bad" data-simulate="stop" @click=${stopSimulation}>Stop</button>`
        : html`<button data-simulate="start" @click=${simulate}>Simulate</button>`}
      ${running ? html`<span class="muted" role="status">${plain(which)}: ${plain(progress) || 'making the plan'}</span>` : ''}</div>
    ${problem ? html`<p class="empty" data-simulate="problem">${plain(problem)}</p>` : ''}
    ${columns.length ? html`<div class="scroll"><table data-simulate="figures"><thead><tr><th>${plain(which)}</th>
        ${columns.map(name => html`<th class="n">${name === 'today' ? 'today' : 'with the sliders'}</th>`)}</tr></thead>
      <tbody>${FIGURES.map(([title, cell]) => html`<tr><td>${title}</td>${columns.map(name => html`<td class="n">${plain(cell(arms[name]))}</td>`)}</tr>`)}</tbody></table></div>
      <p class="muted">${columns.length < 2 ? 'The sliders stand where the picker has them. ' : ''}Simulated with ${plain(Object.entries(weights).map(([name, value]) => `${shown[name]} ${num(value)}`).join(', '))}: the stack's manifests and pods under the scenario's own load. Logs do not tell how long answers were, so past requests cannot be sent again.</p>` : ''}`;
}

export function whatif() {
  if (!result && !problem && !asking) compute();
  const changes = Object.values(wanted.weights).length || wanted.picker;
  return html`<section class="panel whatif" aria-label="what if">
    <h2>What if <small>${result ? `the last ${result.decisions} decisions, anew` : ''}</small></h2>
    ${problem ? html`<p class="empty">${plain(problem)}</p>` : ''}
    ${result && !Object.keys(result.logged_weights).length ? html`<p class="empty">No scored decision yet: send some requests, or start a load. Only the reference picker writes decisions.</p>` : ''}
    ${result && Object.keys(result.logged_weights).length ? html`<div class="split">
      <div>
        ${sliders()}
        <label class="slider"><span>picker</span><select aria-label="picker" @change=${e => { wanted.picker = e.target.value; compute(); }}>
          ${[...new Set([result.picker, ...PICKERS])].map(kind => html`<option .value=${kind} ?selected=${kind === result.picker}>${plain(kind)}</option>`)}</select></label>
        <label class="slider"><span>of the last</span><input type="range" min="10" max="1000" step="10" .value=${String(wanted.last)} @input=${e => { wanted.last = Number(e.target.value); compute(); }}>
          <b class="n">${wanted.last}</b></label>
        <div class="toolbar"><button ?disabled=${!changes} @click=${reset}>Reset</button>
          <button @click=${exported}>Export</button>
          <button class="primary" ?disabled=${!changes || !('scale' in store.commands)} @click=${apply}>Apply: restart the picker</button></div>
      </div>
      <div>
        <p class="figure"><b data-changed>${num(result.changed)}</b> of ${result.decided} picks would go elsewhere (${percent(result.decided ? result.changed / result.decided : 0)})</p>
        ${result.drawn ? html`<p class="muted">${result.drawn} of the others would be drawn among several, ${num(result.drawn_elsewhere)} of them elsewhere.</p>` : ''}
        ${result.unscored ? html`<p class="muted">${result.unscored} decisions had no scores.</p>` : ''}
        ${result.unknown ? html`<p class="muted">${result.unknown} cannot be told: the brief log left out a candidate that might have won. <code>up --decision-log FILE</code> keeps all.</p>` : ''}
        ${spread()}
      </div></div>
      <h3>Picks that would change</h3>
      ${result.changes.length ? html`<div class="scroll"><table class="changes"><tbody>${result.changes.slice(-40).reverse().map(c => html`<tr tabindex="0" @click=${() => openRequest(c.request_id)}>
        <td>${clock(c.time)}</td><td>${plain((c.client_id || c.request_id).split('/').pop()).slice(0, 24)}</td><td>${plain(c.model)}</td>
        <td>${plain(short(c.before))} → ${plain(c.after.slice(0, 3).map(short).join(' or '))}${c.after.length > 3 ? ` or ${c.after.length - 3} more` : ''}</td><td class="n">by ${num(c.margin)}</td></tr>`)}</tbody></table></div>`
        : html`<p class="muted">None.</p>`}
      ${simulation()}
      <p class="muted">Each request is decided anew on what was known when it came. With other picks, queues and caches would have become others: apply it, or compare with <code>loadgen compare</code>.</p>` : ''}
  </section>`;
}
