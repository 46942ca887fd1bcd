// The state of the page in one object, and how it changes. Pure: time is an argument.

import { createRankHistory, createRateHistory } from './history.js';
import { applyFrame, applyList, chooseQuery, createResults } from './results.js';
import { answered, createWatchdog, frameArrived, queryChosen } from './watchdog.js';

const DEFAULT_QUERY = 'topics';

// `wanted` is what the reader chose: { query (or null), n }.
export function createState(wanted) {
  return {
    wanted,
    chosen: null, // the query that is shown: the wanted one once it exists
    paused: null, // { result, lagMs, updates } while paused
    fresh: true, // the next drawing shows another query or size, so that nothing is animated
    results: createResults(),
    watchdog: createWatchdog(),
    ranks: createRankHistory(),
    rates: createRateHistory(),
  };
}

// The queries to subscribe to: all of them until the wanted one exists, so that the page notices when it appears.
export function subscription(state) {
  const wanted = wantedQuery(state);
  return state.chosen === wanted ? [wanted] : ['*'];
}

export function wantedQuery(state) {
  return state.wanted.query ?? DEFAULT_QUERY;
}

// The newest result of the chosen query, or the one that a pause keeps: { result, lagMs, updates }, or null.
export function shown(state) {
  return state.paused ?? newest(state);
}

export function newest(state) {
  return state.results.newest.get(state.chosen) ?? null;
}

// How many updates a pause holds back.
export function heldBack(state) {
  return state.paused === null ? 0 : (newest(state)?.updates ?? 0) - state.paused.updates;
}

// `wallMs` is the reader's clock, for times of day. Returns whether anything that is shown may have changed.
export function receiveFrame(state, frame, now, wallMs) {
  const said = applyFrame(state.results, frame, now);
  choose(state);
  frameArrived(state.watchdog, frame, said, state.chosen, now, wallMs);
  return said.changed;
}

export function receiveAnswer(state, answer, askedAt, now) {
  const { results } = state;
  const behind = answer.kind === 'list' && applyList(results, answer.queries, state.chosen ?? wantedQuery(state), askedAt, now);
  choose(state);
  answered(state.watchdog, answer, behind, now);
}

export function wantQuery(state, query) {
  state.wanted.query = query;
  state.results.problem = null;
  choose(state);
}

export function wantSize(state, n) {
  state.wanted.n = n;
  state.fresh = true;
}

export function togglePause(state) {
  state.paused = state.paused === null ? newest(state) : null;
}

function choose(state) {
  const next = chooseQuery(state.results, wantedQuery(state));
  if (next === state.chosen) return;
  state.chosen = next;
  state.paused = null;
  state.fresh = true;
  state.ranks.clear();
  state.rates.clear();
  queryChosen(state.watchdog);
}
