// The server: a stream of ticks, and questions. The token stands in the fragment of the address, which
// browsers send to nobody, and goes back in a header; that is why the stream is read with fetch.
import {receive, reset, set, store} from './store.js';

const token = () => new URLSearchParams(location.hash.slice(1)).get('token') || '';

export async function ask(name, body = {}) {
  const answer = await fetch(`api/${name}`, {
    method: 'POST', body: JSON.stringify(body),
    headers: {'x-simfleet-token': token(), 'content-type': 'application/json'},
  });
  const told = await answer.json().catch(() => ({error: `the server answered ${answer.status}`}));
  if (!answer.ok || told.error) throw new Error(told.error || `the server answered ${answer.status}`);
  return told.ok;
}

// An action: what it did is shown, with an undo where there is one; so is why it was not done.
export async function act(name, body) {
  try {
    const done = await ask(name, body);
    toast(done?.did || 'done', done?.undo);
    return done;
  } catch (error) {
    toast(error.message, null, true);
    return null;
  }
}

let clearing;
export function toast(text, undo = null, bad = false) {
  set({toast: {text, undo, bad, number: ++store.toasts}});
  clearTimeout(clearing);
  clearing = setTimeout(() => set({toast: null}), undo ? 20000 : 8000);
}

export async function undo() {
  const step = store.toast?.undo;
  set({toast: null});
  if (step) await act(step.route, step.body);
}

export async function follow() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const answer = await fetch('api/stream', {headers: {'x-simfleet-token': token()}});
      if (answer.status === 401) {
        set({connected: false, refused: 'the token is missing or wrong: open the address that `simfleet ui` prints'});
        await new Promise(resolve => addEventListener('hashchange', resolve, {once: true}));
        continue;
      }
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      wait = 500;
      await read(answer.body.getReader());
    } catch { /* the server is gone, or going: it is asked again */ }
    set({connected: false});
    await new Promise(resolve => setTimeout(resolve, wait));
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let buffer = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, {stream: true});
    let end;
    while ((end = buffer.indexOf('\n\n')) >= 0) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/s.exec(buffer.slice(0, end)) || [];
      buffer = buffer.slice(end + 2);
      if (event === 'hello') { reset(); store.connected = true; store.refused = null; }
      if (data) receive(JSON.parse(data));
    }
  }
}
