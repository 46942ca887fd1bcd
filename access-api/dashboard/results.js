// What the page knows of the queries and their results, from the server's frames and lists alone. Pure: time is an
// argument.
// Rely on: a result is never altered after it was stored, so a reference to it is a frozen picture of it;
// within one stream the version shown of a query never goes backwards.

export function createResults() {
  return {
    queries: new Map(), // name -> { name, version, seenAt }: those that the server listed or sent last
    newest: new Map(), // name -> { result, lagMs, updates }; updates counts, for what a pause holds back
    stream: null, // which results topic the versions belong to
    skipped: 0, // updates that the server merged or dropped for this page
    unranked: new Set(), // names of queries whose results are no ranking, which this page cannot draw
    problem: null, // what the server refused: { message }
  };
}

// Applies one frame. Tells what the frame said, for whoever watches the connection:
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
      // Results that do not name their stream: the versions after a gap may be those of another one.
      if (results.stream === null) forget(results);
      return said(true);
    case 'error':
      results.problem = { message: String(frame.message ?? frame.code) };
      return said(true);
    default:
      return said(frame.type === 'status' || frame.type === 'slow_down'); // a type that is not known yet is no error
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
  // The lag of a snapshot is how long ago it was news, not how long it took; a version that is sent again has none.
  const lagMs = frame.type === 'result' && isNewer ? frame.lag_ms : shown?.lagMs ?? null;
  results.newest.set(name, { result, lagMs, updates: (shown?.updates ?? 0) + 1 });
  results.queries.set(name, { name, version: result.version, seenAt: now });
  results.problem = null;
  return said(true, isNewer ? 'newer' : 'same', frame.lag_ms ?? null);
}

function forget(results) {
  results.newest.clear();
}

// Takes over the server's list, which was asked for at `askedAt`: what is not on it has retired, unless its first result
// came while the answer was on its way. Returns whether the server has a newer result of `chosen` than is shown.
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

// The query to show: the one asked for once it exists, otherwise the first one there is, otherwise none.
export function chooseQuery(results, wanted) {
  if (results.queries.has(wanted)) return wanted;
  return queryNames(results)[0] ?? null;
}
