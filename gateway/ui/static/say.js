// How numbers and names of others are written.

const ODD = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

// a name as text: what moves the cursor or turns the line is shown by its escape
export function plain(text) {
  return String(text ?? '').replace(ODD, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function num(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return '';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1000) return size >= 10000 ? `${(value / 1000).toFixed(size >= 100000 ? 0 : 1)}k` : value.toFixed(0);
  return String(Number(value.toPrecision(digits)));
}

export function ms(value) {
  if (value === null || value === undefined) return '';
  return value >= 10000 ? `${num(value / 1000)} s` : `${num(value)} ms`;
}

export function percent(share, digits = 0) {
  return share === null || share === undefined ? '' : `${(100 * share).toFixed(digits)} %`;
}

export function clock(seconds, fine = false) {
  if (!seconds) return '';
  const text = new Date(seconds * 1000).toTimeString().slice(0, 8);
  return fine ? `${text}.${String(Math.floor(seconds * 1000) % 1000).padStart(3, '0')}` : text;
}

// scorers by their first word, or whole where two begin with it
export function scorerNames(names) {
  const firsts = names.map(name => name.split('-')[0]);
  return Object.fromEntries(names.map((name, i) =>
    [name, firsts.filter(first => first === firsts[i]).length === 1 ? firsts[i] : name]));
}

export async function copy(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { return false; }
}
