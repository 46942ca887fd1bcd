// The queries and their newest results, taken from the server's frames and lists alone. Pure: time is an argument.
// Guarantees: a result is never changed after it was stored, so that a reference to it can be kept while the page is
// paused; within one stream the version shown of a query never goes backwards.

export function createResults() {
  return {
    queries: new Map(), // name -> { name, version, seenAt }: those that the server listed or sent last
    newest: new Map(), // name -> { result, lagMs, updates }; from `updates` follows how many a pause holds back
    stream: null, // the identity of the topic of results to which the versions belong
    skipped: 0, // updates that the server skipped for this page
    unranked: new Set(), // names of queries whose results are not a ranking and cannot be drawn by this page
    problem: null, // the last error that the server sent: { message }
  };
}

// Applies one frame. Returns what the frame said, for the watchdog:
//   { changed, version: 'newer' | 'same' | 'older' | null, lagMs }
export function applyFrame(results, frame, now) {
  switch (frame.type) {
    case 'snapshot':
    case 'result':
      return applyResult(results, frame, now);
    case 'stall_warning':
      results.skipped += frame.skipped ?? 0;
      return said(true);
    case 'gap':
      results.skipped += frame.skipped ?? 0;
      // If results do not name their stream, the versions after a gap may belong to another one.
      if (results.stream === null) forget(results);
      return said(true);
    case 'error':
      results.problem = { message: String(frame.message ?? frame.code) };
      return said(true);
    default:
      return said(frame.type === 'status' || frame.type === 'slow_down'); // an unknown type is not an error
  }
}

function said(changed, version = null, lagMs = null) {
  return { changed, version, lagMs };
}

function applyResult(results, frame, now) {
  const { query: name, result } = frame;
  if (!Array.isArray(result?.top)) {
    results.queries.delete(name);
    results.unranked.add(name);
    return said(true);
  }
  const stream = result.stream ?? null;
  if (stream !== results.stream) {
    if (results.stream !== null) forget(results);
    results.stream = stream;
  }
  const shown = results.newest.get(name);
  if (shown && result.version < shown.result.version) return said(false, 'older');
  const isNewer = !shown || result.version > shown.result.version;
  // The `lag_ms` of a snapshot says how old it is, not how long its processing took; a version that is sent again has none.
  const lagMs = frame.type === 'result' && isNewer ? frame.lag_ms : shown?.lagMs ?? null;
  results.newest.set(name, { result, lagMs, updates: (shown?.updates ?? 0) + 1 });
  results.queries.set(name, { name, version: result.version, seenAt: now });
  results.problem = null;
  return said(true, isNewer ? 'newer' : 'same', frame.lag_ms ?? null);
}

function forget(results) {
  results.newest.clear();
}

// Applies the server's list, which was requested at `askedAt`. A query that is not on it was removed, unless a result of it
// arrived after the request. Returns whether the server has a newer result of `chosen` than is shown.
export function applyList(results, list, chosen, askedAt, now) {
  const ranked = list.filter((query) => query.kind === undefined || query.kind === 'top');
  const listed = new Set(ranked.map((query) => query.name));
  for (const [name, { seenAt }] of results.queries) {
    if (listed.has(name) || seenAt >= askedAt) continue;
    results.queries.delete(name);
    results.newest.delete(name);
  }
  for (const { name, version } of ranked) results.queries.set(name, { name, version, seenAt: now });
  const there = ranked.find((query) => query.name === chosen);
  const shown = results.newest.get(chosen);
  return there !== undefined && (!shown || there.version > shown.result.version);
}

export function queryNames(results) {
  return [...results.queries.keys()].sort();
}

// The query to show: the wanted one if it exists, otherwise the first one by name, otherwise null.
export function chooseQuery(results, wanted) {
  if (results.queries.has(wanted)) return wanted;
  return queryNames(results)[0] ?? null;
}
