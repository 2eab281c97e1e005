// Configuration: each object, what it becomes, its conditions; what Envoy has; what lint finds.
import {html} from './vendor/lit-html/lit-html.js';
import {set, store} from './store.js';
import {ask, toast} from './wire.js';
import {plain} from './say.js';

let asking = false, asked = 0;

async function read(again) {
  if (asking) return;
  asking = true;
  asked = Date.now();
  try { set({objects: await ask('objects', {again})}); } catch (error) { toast(error.message, null, true); }
  asking = false;
}

// Envoy's routes that were made of an object, and its clusters
function madeOf(object, envoys) {
  const found = [];
  for (const envoy of envoys) {
    const ours = new RegExp(`^${escape(object.namespace)}\\.${escape(object.name)}\\.\\d+$`);
    if (/Route$/.test(object.kind)) for (const route of envoy.routes) if (ours.test(route.name)) found.push({route});
    const host = object.kind === 'InferencePool'
      ? store.state.pools.find(p => p.name === object.name && p.namespace === object.namespace)?.host
      : object.kind === 'Service' ? `${object.name}.${object.namespace}.svc.` : null;
    if (host) for (const cluster of envoy.clusters) if (cluster.name.split('|').pop().startsWith(host)) found.push({cluster});
  }
  return found;
}

const escape = text => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function endpoints(cluster) {
  return html`<span class="endpoints">${cluster.endpoints.map(e => html`<span class="chip ${e.health === 'healthy' ? '' : 'bad'}" title=${`${e.requests} requests, ${e.errors} errors`}>${plain(e.address)}${e.health === 'healthy' ? '' : ` ${plain(e.health)}`}</span>`)}
    ${cluster.endpoints.length ? '' : html`<span class="chip bad">no endpoints</span>`}</span>`;
}

function made(part) {
  if (part.route) {
    const {route} = part;
    return html`<div class="made"><code>:${route.listener} ${plain(route.domains.join(', '))} ${plain(route.match)}</code>
      → ${route.action ? html`<span class="chip bad">${route.action}</span>` : route.clusters.map(c => html`<code>${plain(c.name.split('|').pop().split('.')[0])}</code> `)}</div>`;
  }
  return html`<div class="made"><code>${plain(part.cluster.name)}</code> ${endpoints(part.cluster)}</div>`;
}

function object(one, envoys) {
  const parts = madeOf(one, envoys);
  return html`<tr data-object=${`${one.kind}/${one.namespace}/${one.name}`}>
    <td><b>${plain(one.kind)}</b> ${plain(one.namespace ? `${one.namespace}/` : '')}${plain(one.name)}<br><small class="muted">${plain(one.where)}</small></td>
    <td>${one.becomes ? plain(one.becomes) : html`<span class="chip warn">not simulated</span>`}${parts.slice(0, 12).map(made)}${parts.length > 12 ? html`<small>and ${parts.length - 12} more</small>` : ''}</td>
    <td>${one.conditions.map(c => html`<span class="chip ${c.status ? 'good' : 'bad'}" title=${plain(c.message)}>${plain(c.type)} ${c.status ? '' : plain(c.reason)}</span>`)}
      ${one.conditions.filter(c => !c.status).map(c => html`<div class="badtext">${plain(c.message)}</div>`)}</td></tr>`;
}

export function config() {
  const told = store.objects;
  if (!told || Date.now() - asked > 15000) read(false);
  if (!told) return html`<section class="panel" aria-label="configuration"><h2>Configuration</h2><p class="muted">reading…</p></section>`;
  const idle = told.objects.filter(o => !o.becomes);
  return html`<section class="panel config" aria-label="configuration">
    <h2>Configuration <small>${told.objects.length} objects, ${idle.length} not simulated, ${told.findings.length} findings</small>
      <button class="chip right" @click=${() => read(true)}>read again</button></h2>
    ${told.notes.length ? html`<ul class="notes">${told.notes.map(note => html`<li>${plain(note)}</li>`)}</ul>` : ''}
    <div class="scroll"><table class="cards objects"><thead><tr><th>object</th><th>what it becomes</th><th>conditions</th></tr></thead>
      <tbody>${told.objects.filter(o => o.becomes).map(o => object(o, told.envoys))}</tbody></table></div>
    <details><summary>${idle.length} objects that are not simulated</summary><table class="cards objects"><tbody>${idle.map(o => object(o, told.envoys))}</tbody></table></details>
    <h3>Lint</h3>
    ${told.findings.length ? html`<ul class="findings">${told.findings.map(f => html`<li><span class="chip ${f.severity === 'error' ? 'bad' : f.severity === 'warning' ? 'warn' : ''}">${plain(f.severity)}</span>
      <b>${plain(f.rule)}</b> <small class="muted">${plain(f.where)}</small><br>${plain(f.message)}<br><small>${plain(f.consequence)} <i>Mend: ${plain(f.mend)}</i></small></li>`)}</ul>`
      : html`<p class="muted">Nothing found.</p>`}
  </section>`;
}
