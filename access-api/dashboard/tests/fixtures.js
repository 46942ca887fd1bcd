// Frames and results as the access-api sends them, with what a test does not care about filled in.

export function result(fields = {}) {
  return {
    v: 1, query: 'topics', stream: 'a1', window: { kind: 'running' }, version: 1, as_of_ms: 0, ingested_ms: 0, offsets: { 0: 0 },
    events: 1, duplicates: 0, total: 1, distinct: 1, distinct_error: 0, ceiling: 0, late: 0, untimed: 0, future: 0, gaps: [],
    top: [{ item: 'Social', count: 1, error: 0 }], ...fields,
  };
}

export function frame(fields = {}, resultFields = {}) {
  const query = fields.query ?? 'topics';
  return { type: 'result', query, cursor: 'c1', lag_ms: 5, result: result({ query, ...resultFields }), ...fields };
}

export const snapshot = (fields = {}, resultFields = {}) => frame({ type: 'snapshot', ...fields }, resultFields);

// What the socket tells of itself when it is open.
export const OPEN = { phase: 'open', retryAt: null, everOpen: true, resuming: false, refused: false, bye: null };
