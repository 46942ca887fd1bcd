// What this browser remembers: query, number of bars. The address (`#q=topics&n=25`) comes before the memory.
// Rely on: works without storage (private windows, blocked cookies); then the address alone remembers.

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
    // a browser that keeps nothing still shows everything
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

// Without an entry in the browser's history: a wall screen that changes its query for years has one page.
export function savePrefs({ query, n }) {
  if (query !== null) store('millrace.query', query);
  store('millrace.n', String(n));
  history.replaceState(null, '', toHash({ query, n }));
}
