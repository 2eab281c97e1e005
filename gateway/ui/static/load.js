// Load: one packaged scenario, or plain requests, from a child of the page's server.
import {html} from './vendor/lit-html/lit-html.js';
import {set, store} from './store.js';
import {ask, toast} from './wire.js';
import {plain} from './say.js';

const wanted = {scenario: '', model: '', rate: 20, duration_s: 60};

async function start() {
  const body = {scenario: wanted.scenario, model: wanted.model, duration_s: wanted.duration_s,
    rate: wanted.scenario ? null : wanted.rate};
  try { set({load: await ask('load', body)}); } catch (error) { toast(error.message, null, true); }
}

async function stop() {
  try { set({load: await ask('stop')}); } catch (error) { toast(error.message, null, true); }
}

async function again() { await stop(); await start(); }

export function load() {
  const {running, lines, command, exit} = store.load;
  const about = store.scenarios.find(s => s.name === wanted.scenario)?.about;
  const models = [...new Set(store.state.pods.flatMap(pod => pod.models || []))];
  return html`<section class="panel load" aria-label="load">
    <h2>Load <small>${running ? 'runs' : exit === null || exit === undefined ? '' : exit === 0 ? 'ended well' : exit === 130 ? 'stopped' : `ended with status ${exit}`}</small></h2>
    <div class="form">
      <label>scenario <select aria-label="scenario" @change=${e => { wanted.scenario = e.target.value; set({}); }}>
        <option value="">plain requests</option>${store.scenarios.map(s => html`<option .value=${s.name} ?selected=${s.name === wanted.scenario}>${plain(s.name)}</option>`)}</select></label>
      ${wanted.scenario ? html`<span class="muted">its own rate and model</span>`
        : html`<label>model <select aria-label="model" @change=${e => { wanted.model = e.target.value; }}>${models.map(m => html`<option .value=${m}>${plain(m)}</option>`)}</select></label>
      <label>rate <input type="range" min="1" max="200" .value=${String(wanted.rate)} @input=${e => { wanted.rate = Number(e.target.value); set({}); }}> <b>${wanted.rate}/s</b></label>`}
      <label>seconds <input type="number" min="1" max="86400" .value=${String(wanted.duration_s)} @change=${e => { wanted.duration_s = Number(e.target.value) || 60; }}></label>
      ${running ? html`<button class="bad" data-load="stop" @click=${stop}>Stop</button><button @click=${again}>Restart with these</button>`
        : html`<button class="primary" data-load="start" ?disabled=${!store.state.url} @click=${start}>Start</button>`}
    </div>
    ${about ? html`<p class="muted">${plain(about)}</p>` : ''}
    ${store.state.url ? '' : html`<p class="empty">This stack has no gateway to send to.</p>`}
    ${command ? html`<code class="block">$ ${plain(command)}</code>` : ''}
    ${lines.length ? html`<pre class="output" aria-live="off">${lines.map(plain).join('\n')}</pre>` : ''}
  </section>`;
}
