// What the page knows: one object, changed here and nowhere else, and who is told of changes.

export const KEEP_ROWS = 500, KEEP_POINTS = 900, KEEP_EVENTS = 200;

export const store = {
  tab: 'overview',
  connected: false,
  problem: null,       // why the stack tells nothing
  refused: null,       // why the server tells nothing
  state: null,         // the stack as the last tick tells it
  rows: new Map(),     // requests by id, oldest first
  points: [],          // seconds of the timeline
  events: [],          // {t, text}
  load: {running: false, lines: []},
  simulation: {running: false},
  filter: {},          // pod, gateway, route, cluster, kind, model, q, from, to
  open: null,          // id of the request whose decision is shown
  decision: null,
  commands: {},
  scenarios: [],
  objects: null,
  toast: null,
  toasts: 0,  // how many were shown
};

const listeners = new Set();
let scheduled = false;

export function listen(listener) { listeners.add(listener); }

export function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; for (const tell of listeners) tell(); });
}

export function set(values) { Object.assign(store, values); changed(); }

export function setFilter(values) {
  const filter = {...store.filter, ...values};
  for (const key of Object.keys(filter)) if (filter[key] === null || filter[key] === '') delete filter[key];
  set({filter});
}

// a second click on the same thing takes the filter away again
export function toggleFilter(key, value) { setFilter({[key]: store.filter[key] === value ? null : value}); }

export function receive(message) {
  if (message.state) { store.state = message.state; store.problem = message.state.problem; }
  if (message.points) store.points = message.points;
  if (message.point) store.points.push(message.point);
  if (store.points.length > KEEP_POINTS) store.points.splice(0, store.points.length - KEEP_POINTS);
  for (const row of message.rows || []) {
    store.rows.set(row.id, row);
    if (store.rows.size > KEEP_ROWS) store.rows.delete(store.rows.keys().next().value);
  }
  if (message.events?.length) store.events = [...store.events, ...message.events].slice(-KEEP_EVENTS);
  if (message.load) store.load = message.load;
  if (message.simulation) store.simulation = message.simulation;
  changed();
}

export function reset() { store.rows = new Map(); store.points = []; store.events = []; }

// names of pods without what all of them begin with
export function short(name) {
  const prefix = store.state?.prefix || '';
  return prefix && name?.startsWith(prefix) ? name.slice(prefix.length) : name || '';
}

export function podAt(place) { return store.state?.pods.find(pod => pod.places.includes(place))?.name || place; }

export function poolOf(cluster) { return store.state?.pools.find(pool => cluster.includes(pool.host)); }

// the requests that the filter leaves, newest first
export function shownRows() {
  const {pod, gateway, route, cluster, kind, model, q, from, to} = store.filter;
  const words = (q || '').toLowerCase().split(/\s+/).filter(Boolean);
  return [...store.rows.values()].reverse().filter(row =>
    (!pod || row.pod === pod) && (!kind || kindOf(row) === kind) && (!model || row.model === model) &&
    (!route || row.route === route) && (!cluster || row.cluster === cluster) &&
    (!gateway || row.gateway === gateway) && (!from || (row.time >= from && row.time <= to)) &&
    words.every(word => textOf(row).includes(word)));
}

function textOf(row) {
  return [row.id, row.client_id, row.pod, row.model, row.reason, row.cause, row.path, row.objective,
    row.status, row.begins ? `prefix:${row.begins}` : '', row.prefix ? `blocks:${row.prefix[0]}/${row.prefix[1]}` : ''].join(' ').toLowerCase();
}

export function kindOf(row) { return row.status === undefined ? 'open' : `${Math.floor(row.status / 100)}xx`; }
