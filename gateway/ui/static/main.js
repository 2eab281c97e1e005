// The page as a whole: tabs, keys, and what is drawn after each change.
import {html, render} from './vendor/lit-html/lit-html.js';
import {listen, set, setFilter, short, store} from './store.js';
import {ask, follow, toast, undo} from './wire.js';
import {clock, copy, ms, num, plain} from './say.js';
import {drawEdges, flow} from './flow.js';
import {drawCharts, timeline} from './timeline.js';
import {pods} from './pods.js';
import {closeRequest, decision, freshen, requests, step} from './requests.js';
import {refresh, whatif} from './whatif.js';
import {load} from './load.js';
import {config} from './config.js';

const TABS = {
  overview: ['Overview', () => html`${flow()}${timeline()}`],
  pods: ['Pods', pods],
  requests: ['Requests', requests],
  whatif: ['What if', whatif],
  load: ['Load', load],
  config: ['Configuration', config],
};

function go(tab) {
  if (tab !== 'requests' && tab !== 'whatif') closeRequest();
  set({tab});
}

function top() {
  const {state, points} = store;
  const recent = points.slice(-10);
  const rate = recent.length ? recent.reduce((n, p) => n + p.n, 0) / recent.length : 0;
  const bad = recent.reduce((n, p) => n + p.bad, 0);
  const first = state.flow.hops.first_byte;
  return html`<header class="top">
    <h1><i class="dot ${store.problem || !store.connected ? 'killed' : 'ready'}"></i>${plain(state.name)}</h1>
    <span class="url">${plain(state.url || 'no gateway')}</span>
    <span class="stat"><b>${num(rate) || 0}</b> req/s</span>
    <span class="stat ${bad ? 'badtext' : ''}"><b>${bad}</b> failed in 10 s</span>
    <span class="stat"><b>${first ? ms(first.p50) : '–'}</b> to first byte</span>
    <span class="stat"><b>${state.pods.filter(p => p.state === 'ready').length}/${state.pods.length}</b> pods</span>
    ${store.load.running ? html`<button class="chip on" @click=${() => go('load')}>load runs</button>` : ''}
  </header>`;
}

function filters() {
  const {from, to, ...rest} = store.filter;
  const names = {pod: short, gateway: plain, route: plain, cluster: c => c.split('|').pop().split('.')[0], kind: plain, model: plain, q: q => `“${q}”`};
  const chips = Object.entries(rest).map(([key, value]) => [key, `${key === 'q' ? 'text' : key} ${names[key](value)}`]);
  if (from) chips.push(['time', `${clock(from)} to ${clock(to)}`]);
  if (!chips.length) return '';
  return html`<div class="filters">${chips.map(([key, text]) => html`<button class="chip on" data-filter=${key}
    @click=${() => setFilter(key === 'time' ? {from: null, to: null} : {[key]: null})}>${plain(text)} ×</button>`)}
    ${store.tab === 'requests' ? '' : html`<button class="chip" @click=${() => go('requests')}>its requests</button>`}</div>`;
}

function sheet() {
  const it = store.sheet;
  if (!it) return '';
  const save = () => {
    const link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(new Blob([it.text])), download: it.file});
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return html`<div class="veil" @click=${event => { if (event.target === event.currentTarget) set({sheet: null}); }}><div class="sheet" role="dialog" aria-label=${it.title}>
    <header><h2>${it.title}</h2><button class="close" aria-label="close" @click=${() => set({sheet: null})}>×</button></header>
    ${it.note ? html`<p class="muted">${it.note}</p>` : ''}<pre>${plain2(it.text)}</pre>
    <div class="toolbar"><button @click=${async () => toast(await copy(it.text) ? 'copied' : 'the browser does not let this page copy')}>Copy</button>
      ${it.file ? html`<button @click=${save}>Save</button>` : ''}</div></div></div>`;
}

const plain2 = text => text.split('\n').map(plain).join('\n');

function notice() {
  const it = store.toast;
  return it ? html`<div class="toast ${it.bad ? 'bad' : ''}" data-number=${it.number} role="status"><span>${plain(it.text)}</span>
    ${it.undo ? html`<button @click=${undo}>Undo</button>` : ''}<button class="close" aria-label="close" @click=${() => set({toast: null})}>×</button></div>` : '';
}

const KEYS = [['1 … 6', 'panels'], ['/', 'search'], ['j k', 'next, previous request'], ['Esc', 'close, then clear the filter'], ['u', 'undo the last action'], ['?', 'this list']];

function page() {
  if (!store.state) return html`<p class="boot">${plain(store.refused || store.problem || 'connecting…')}</p>`;
  return html`${top()}
    <nav class="tabs" role="tablist">${Object.entries(TABS).map(([id, [label]]) => html`<button role="tab" id=${`tab-${id}`} aria-selected=${store.tab === id ? 'true' : 'false'}
      @click=${() => go(id)}>${label}</button>`)}<button class="help" aria-label="keys" @click=${() => set({keys: !store.keys})}>?</button></nav>
    ${store.keys ? html`<dl class="keys">${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>` : ''}
    ${store.connected ? store.problem ? html`<p class="alarm" role="alert">${plain(store.problem)}</p>` : '' : html`<p class="alarm" role="alert">${plain(store.refused || 'The page’s server does not answer; what stands here is what was last known.')}</p>`}
    ${filters()}
    <main class=${store.open ? 'with-drawer' : ''}><div class="tab" role="tabpanel">${TABS[store.tab][1]()}</div>${decision()}</main>
    ${sheet()}${notice()}`;
}

const root = document.getElementById('app');
root.replaceChildren();
listen(() => { render(page(), root); drawEdges(render); drawCharts(); freshen(); });
addEventListener('resize', () => set({}));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => set({}));

addEventListener('keydown', event => {
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === 'Escape') {
    if (typing) typing.blur();
    else if (store.sheet) set({sheet: null});
    else if (store.open) closeRequest();
    else set({filter: {}, keys: false});
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !store.state) return;
  const tab = Object.keys(TABS)[Number(event.key) - 1];
  if (tab) go(tab);
  else if (event.key === '/') { event.preventDefault(); go('requests'); requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById('search')?.focus())); }
  else if (event.key === 'j') step(1);
  else if (event.key === 'k') step(-1);
  else if (event.key === 'u') undo();
  else if (event.key === '?') set({keys: !store.keys});
});

async function learn() {
  try { set({commands: await ask('commands'), scenarios: await ask('scenarios')}); } catch { setTimeout(learn, 2000); }
}

setInterval(refresh, 2000);
learn();
follow();
