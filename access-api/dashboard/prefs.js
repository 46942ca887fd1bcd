// The choices that this browser remembers: query and number of bars. Those in the address (`#q=topics&n=25`) win.
// Guarantees: works without storage (private windows, blocked cookies); then only the address keeps the choices.

export const SIZES = [10, 25, 50];

export function parseHash(hash) {
  const params = new URLSearchParams(hash.replace(/^#/, ''));
  const n = Number(params.get('n'));
  return { query: params.get('q') || null, n: SIZES.includes(n) ? n : null };
}

export function toHash({ query, n }) {
  const params = new URLSearchParams();
  if (query !== null) params.set('q', query);
  params.set('n', String(n));
  return `#${params}`;
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // without storage the page works all the same
  }
}

export function loadPrefs() {
  const address = parseHash(location.hash);
  const n = Number(stored('millrace.n'));
  return {
    query: address.query ?? stored('millrace.query'),
    n: address.n ?? (SIZES.includes(n) ? n : SIZES[0]),
  };
}

// Adds no entry to the browser's history, which would grow for years on a wall screen that changes its query.
export function savePrefs({ query, n }) {
  if (query !== null) store('millrace.query', query);
  store('millrace.n', String(n));
  history.replaceState(null, '', toHash({ query, n }));
}
