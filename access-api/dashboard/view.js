// The view: what the page shows, as texts and numbers made of the state and the time. Pure, no DOM.
// `now` is of a clock that is never adjusted; `wallMs` is the reader's clock, for times of day.

import { queryNames } from './results.js';
import { heldBack, shown, wantedQuery } from './state.js';
import { connectionState } from './watchdog.js';
import { detailText, emptyText, legendText, noticeText, STATE_WORDS } from './wording.js';

export function viewOf(state, format, now, wallMs) {
  const picture = shown(state);
  const result = picture?.result ?? null;
  // The analyzer publishes a result before it has read an event, with version 0.
  const counts = result !== null && result.version > 0;
  const connection = connectionState(state.watchdog, counts, now);
  const top = result === null ? [] : result.top.slice(0, state.wanted.n);
  return {
    state: connection.state,
    word: STATE_WORDS[connection.state],
    detail: detailText(format, { ...connection, hasResult: result !== null, lagMs: picture?.lagMs ?? null, wallMs }),
    canRetry: connection.state === 'offline' && connection.retryInMs !== null,
    notice: noticeText(state.results, wantedQuery(state)),
    query: state.chosen,
    queries: queryNames(state.results),
    window: result === null ? '' : format.windowText(result.window),
    asOf: result !== null && result.as_of_ms > 0 ? { ms: result.as_of_ms, text: format.clock(result.as_of_ms, wallMs) } : null,
    result,
    top,
    lagMs: picture?.lagMs ?? null,
    skipped: state.results.skipped,
    legend: top.length === 0 ? null : legendText(format, result, top),
    empty: emptyOf(state, format, connection.state, result),
    paused: state.paused !== null,
    held: heldBack(state),
  };
}

// The text in place of the bars; null while there are bars, or while it is not known whether there are any.
function emptyOf(state, format, connection, result) {
  if (state.watchdog.socket.phase !== 'open' || connection === 'stale') return null;
  if (result === null ? connection !== 'waiting' || state.chosen !== null : result.top.length > 0) return null;
  return emptyText(format, state.chosen, result);
}
