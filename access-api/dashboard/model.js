// What the page knows, from the server's frames alone. Pure: no clock, no DOM, no socket; time is an argument.
// Rely on: a result is never altered after it was stored, so a reference to it is a frozen picture of it;
// the version shown for a query never goes backwards within one epoch of the cursor.

const CATCHING_UP_MS = 2_000; // a live result that is older than this when it arrives is behind
const CATCHING_UP_HOLD_MS = 5_000; // without another late frame for this long, the backlog is gone
const BEHIND_GRACE_MS = 3_000; // how long a newer result may be on its way
export const QUIET_AFTER_MS = 10_000; // silence that is worth a word, and a question to the server

export function createModel() {
  return {
    queries: new Map(), // name -> { name, window, version }, as the server listed or sent them
    results: new Map(), // name -> envelope
    updates: new Map(), // name -> frames applied, for the count of what a pause holds
    cursor: null, // newest cursor received, to be acknowledged
    epoch: null,
    skipped: 0, // updates that the server merged or dropped for this page
    lagMs: null, // from receipt of the newest event to the sending of the newest live result
    lateAt: -Infinity, // when a result last arrived late, or the server said that we are slow
    lastFrameAt: null,
    behindSince: null, // since when the server is known to have a newer result than is shown
    problem: null, // what the server refused: { code, message }
  };
}

export function parseCursor(cursor) {
  const parts = /^(.+)-(\d+)$/.exec(cursor ?? '');
  return parts && { epoch: parts[1], seq: Number(parts[2]) };
}

// The later of two cursors; of different epochs, the second.
export function laterCursor(a, b) {
  const left = parseCursor(a);
  const right = parseCursor(b);
  if (!right) return a;
  if (!left || left.epoch !== right.epoch) return b;
  return right.seq >= left.seq ? b : a;
}

// Applies one frame; returns whether anything that is shown may have changed.
export function applyFrame(model, frame, now) {
  switch (frame.type) {
    case 'snapshot':
    case 'result':
      return applyResult(model, frame, now);
    case 'slow_down':
      model.lateAt = now;
      return true;
    case 'stall_warning':
      model.lateAt = now;
      model.skipped += frame.skipped ?? 0;
      return true;
    case 'gap':
      model.skipped += frame.skipped ?? 0;
      return true;
    case 'error':
      model.problem = { code: String(frame.code), message: String(frame.message ?? frame.code) };
      return true;
    default:
      return false; // `bye` is the feed's; a type that is not known yet is no error
  }
}

function applyResult(model, frame, now) {
  const result = frame.result;
  if (!result || !Array.isArray(result.top)) {
    throw new TypeError(`frame ${frame.cursor}: result of query ${frame.query} has no list "top"`);
  }
  model.lastFrameAt = now;
  model.problem = null;
  const epoch = parseCursor(frame.cursor)?.epoch ?? null;
  if (model.epoch !== null && epoch !== model.epoch) {
    model.results.clear(); // another log: what was shown belongs to the one before
    model.behindSince = null;
  }
  model.epoch = epoch;
  model.cursor = laterCursor(model.cursor, frame.cursor);

  const shown = model.results.get(frame.query);
  if (shown && result.version < shown.version) return false;
  model.results.set(frame.query, result);
  model.updates.set(frame.query, (model.updates.get(frame.query) ?? 0) + 1);
  model.queries.set(frame.query, { name: frame.query, window: result.window, version: result.version });
  model.behindSince = null;

  // A result that reflects nothing new (one published again after a restart) says nothing about lag.
  if (frame.type === 'result' && !(shown && result.version === shown.version)) {
    model.lagMs = frame.lag_ms;
    if (model.lagMs > CATCHING_UP_MS) model.lateAt = now;
  }
  return true;
}

// Takes over the server's list (`GET /v1/queries`). A version above what is shown of the chosen query
// means that a frame is missing: on its way, or never to come.
export function applyList(model, list, chosen, now) {
  for (const query of list) model.queries.set(query.name, query);
  const listed = list.find((query) => query.name === chosen);
  const shown = model.results.get(chosen);
  if (listed && (!shown || listed.version > shown.version)) {
    model.behindSince ??= now;
  } else {
    model.behindSince = null;
  }
}

// The query to show: the one asked for once it exists, otherwise the first one there is.
export function chooseQuery(model, wanted) {
  if (wanted !== null && model.queries.has(wanted)) return wanted;
  return model.queries.size > 0 ? model.queries.keys().next().value : null;
}

// The connection in one word. A stream that is quiet is live: only silence while the server
// has something newer, or does not answer, makes what is shown stale.
//   phase: the feed's, 'connecting' | 'open' | 'waiting'; unansweredSince: a question to the server without reply.
export function connectionState(model, { phase, everOpen, unansweredSince, chosen }, now) {
  if (phase === 'waiting') return { state: 'offline', quietMs: 0 };
  if (phase === 'connecting') return { state: everOpen ? 'offline' : 'connecting', quietMs: 0 };
  if (chosen !== null && !model.results.has(chosen) && model.problem === null) {
    const stuck = model.behindSince !== null && now - model.behindSince > BEHIND_GRACE_MS;
    return { state: stuck ? 'stale' : 'connecting', quietMs: 0 };
  }
  const quietMs = model.lastFrameAt === null ? 0 : now - model.lastFrameAt;
  const behind = model.behindSince !== null && now - model.behindSince > BEHIND_GRACE_MS;
  const unanswered = unansweredSince !== null && now - unansweredSince > BEHIND_GRACE_MS;
  if (behind || unanswered) return { state: 'stale', quietMs };
  if (now - model.lateAt < CATCHING_UP_HOLD_MS) return { state: 'catching-up', quietMs };
  return { state: 'live', quietMs: quietMs > QUIET_AFTER_MS ? quietMs : 0 };
}
