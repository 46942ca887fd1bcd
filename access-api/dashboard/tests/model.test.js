import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyFrame, applyList, chooseQuery, connectionState, createModel, laterCursor, parseCursor } from '../model.js';
import { frame } from './fixtures.js';

const OPEN = { phase: 'open', everOpen: true, unansweredSince: null, chosen: 'topics' };
const at = (model, now, feed = {}) => connectionState(model, { ...OPEN, ...feed }, now).state;

function modelWith(...frames) {
  const model = createModel();
  for (const each of frames) applyFrame(model, each, 1_000);
  return model;
}

test('a cursor is an epoch and a sequence, and anything else is none', () => {
  assert.deepEqual(parseCursor('0000000e-12'), { epoch: '0000000e', seq: 12 });
  for (const text of ['', '-1', 'e-', 'e-x', 'e', undefined, null]) assert.equal(parseCursor(text), null);
});

test('the later cursor wins within an epoch, and the newer epoch always', () => {
  assert.equal(laterCursor(null, 'a-1'), 'a-1');
  assert.equal(laterCursor('a-9', 'a-10'), 'a-10');
  assert.equal(laterCursor('a-10', 'a-9'), 'a-10');
  assert.equal(laterCursor('a-10', 'b-1'), 'b-1');
  assert.equal(laterCursor('a-10', 'nonsense'), 'a-10');
});

test('a result with a lower version is not shown', () => {
  const model = modelWith(frame({}, { version: 5 }));
  assert.equal(applyFrame(model, frame({ cursor: '0000000e-2' }, { version: 4 }), 2_000), false);
  assert.equal(model.results.get('topics').version, 5);
  assert.equal(model.cursor, '0000000e-2');
});

test('another epoch starts over, lower versions included', () => {
  const model = modelWith(frame({}, { version: 5 }), frame({ query: 'countries' }));
  applyFrame(model, frame({ cursor: '0000000f-1' }, { version: 2 }), 2_000);
  assert.equal(model.results.get('topics').version, 2);
  assert.equal(model.results.has('countries'), false);
});

test('a result without a list of items is refused, not half shown', () => {
  const model = createModel();
  assert.throws(() => applyFrame(model, { type: 'result', query: 'topics', cursor: 'e-1', result: {} }, 1), /no list "top"/);
  assert.equal(model.results.size, 0);
});

test('the query asked for is chosen once it exists, the first one until then', () => {
  const model = createModel();
  assert.equal(chooseQuery(model, 'topics'), null);
  applyFrame(model, frame({ query: 'countries' }), 1_000);
  assert.equal(chooseQuery(model, 'topics'), 'countries');
  applyFrame(model, frame(), 1_000);
  assert.equal(chooseQuery(model, 'topics'), 'topics');
});

test('a quiet stream is live, and says how long it has been quiet', () => {
  const model = modelWith(frame());
  assert.deepEqual(connectionState(model, OPEN, 5_000), { state: 'live', quietMs: 0 });
  assert.deepEqual(connectionState(model, OPEN, 601_000), { state: 'live', quietMs: 600_000 });
});

test('silence while the server has something newer is stale, after a grace', () => {
  const model = modelWith(frame({}, { version: 5 }));
  applyList(model, [{ name: 'topics', version: 5 }], 'topics', 20_000);
  assert.equal(at(model, 60_000), 'live');
  applyList(model, [{ name: 'topics', version: 6 }], 'topics', 60_000);
  assert.equal(at(model, 62_000), 'live');
  assert.equal(at(model, 63_001), 'stale');
  applyFrame(model, frame({ cursor: '0000000e-2' }, { version: 6 }), 64_000);
  assert.equal(at(model, 64_000), 'live');
});

test('a question without an answer is stale, after the same grace', () => {
  const model = modelWith(frame());
  assert.equal(at(model, 20_000, { unansweredSince: 18_000 }), 'live');
  assert.equal(at(model, 22_000, { unansweredSince: 18_000 }), 'stale');
});

test('results that arrive late are catching up until none is late for a while', () => {
  const model = modelWith(frame({ lag_ms: 40_000 }));
  assert.equal(at(model, 1_500), 'catching-up');
  assert.equal(at(model, 6_001), 'live');
});

test('neither an old snapshot nor a result that reflects nothing new is late', () => {
  const model = modelWith(frame({ type: 'snapshot', lag_ms: 9_000_000 }), frame({ cursor: '0000000e-2', lag_ms: 9_000_000 }));
  assert.equal(at(model, 1_500), 'live');
  assert.equal(model.lagMs, null);
});

test('what the server skipped for a slow page is counted and shown as catching up', () => {
  const model = modelWith(frame());
  applyFrame(model, { type: 'slow_down', percent_full: 50, lag_ms: 1 }, 2_000);
  applyFrame(model, { type: 'stall_warning', percent_full: 60, lag_ms: 1, skipped: 7 }, 2_000);
  applyFrame(model, { type: 'gap', from: 'e-1' }, 2_000);
  assert.equal(model.skipped, 7);
  assert.equal(at(model, 2_500), 'catching-up');
});

test('before the first result the page connects; without a socket it is offline', () => {
  const model = createModel();
  assert.equal(at(model, 0, { phase: 'connecting', everOpen: false }), 'connecting');
  assert.equal(at(model, 0), 'connecting');
  assert.equal(at(model, 0, { phase: 'connecting' }), 'offline');
  assert.equal(at(model, 0, { phase: 'waiting' }), 'offline');
});

test('a frame of a type that is not known yet changes nothing', () => {
  assert.equal(applyFrame(createModel(), { type: 'delta' }, 1), false);
});
