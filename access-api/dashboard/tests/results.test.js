import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyFrame, applyList, chooseQuery, createResults, queryNames } from '../results.js';
import { frame, snapshot } from './fixtures.js';

function resultsWith(...frames) {
  const results = createResults();
  for (const each of frames) applyFrame(results, each, 1_000);
  return results;
}

const version = (results, query = 'topics') => results.newest.get(query)?.result.version;

test('a result with a lower version is not shown', () => {
  const results = resultsWith(frame({}, { version: 5 }));
  assert.deepEqual(applyFrame(results, frame({}, { version: 4 }), 2_000), { changed: false, version: 'older', lagMs: null });
  assert.equal(version(results), 5);
});

test('another stream starts over, lower versions included', () => {
  const results = resultsWith(frame({}, { version: 5 }), frame({ query: 'countries' }));
  applyFrame(results, snapshot({}, { version: 2, stream: 'b2' }), 2_000);
  assert.equal(version(results), 2);
  assert.equal(results.newest.has('countries'), false);
});

test('a gap counts what was missed, and within a stream no version goes back after it', () => {
  const results = resultsWith(frame({}, { version: 5 }));
  applyFrame(results, { type: 'gap', from: 'c1', skipped: 3 }, 2_000);
  applyFrame(results, { type: 'gap', from: 'c1' }, 2_000);
  applyFrame(results, snapshot({}, { version: 2 }), 2_000);
  assert.deepEqual([results.skipped, version(results)], [3, 5]);
});

test('after a gap, results that name no stream may start over', () => {
  const results = resultsWith(frame({}, { version: 5, stream: undefined }));
  applyFrame(results, { type: 'gap', from: 'c1' }, 2_000);
  applyFrame(results, snapshot({}, { version: 2, stream: undefined }), 2_000);
  assert.equal(version(results), 2);
});

test('what the server skipped for a slow page is counted', () => {
  const results = resultsWith(frame(), { type: 'slow_down', percent_full: 50 }, { type: 'stall_warning', percent_full: 60, skipped: 7 });
  assert.equal(results.skipped, 7);
});

test('the lag is that of the query that is asked for, whichever came last', () => {
  const results = resultsWith(frame({ lag_ms: 7 }), frame({ query: 'countries', lag_ms: 900 }));
  assert.equal(results.newest.get('topics').lagMs, 7);
});

test('neither a snapshot nor a version that came before has a lag', () => {
  const results = resultsWith(snapshot({ lag_ms: 9_000_000 }), frame({ lag_ms: 9_000_000 }));
  assert.equal(results.newest.get('topics').lagMs, null);
});

test('a query that is no ranking is not offered, and breaks nothing', () => {
  const groups = { type: 'result', query: 'prices', cursor: 'c2', lag_ms: 1, result: { version: 1, groups: [] } };
  const results = resultsWith(frame(), groups);
  assert.deepEqual(queryNames(results), ['topics']);
  assert.ok(results.unranked.has('prices'));
  applyList(results, [{ name: 'prices', kind: 'count', version: 2 }, { name: 'topics', kind: 'top', version: 1 }], 'topics', 2_000, 2_000);
  assert.deepEqual(queryNames(results), ['topics']);
});

test('a query that retired leaves, unless its first result came while the answer was on its way', () => {
  const results = resultsWith(frame(), frame({ query: 'countries' }));
  applyFrame(results, frame({ query: 'cities' }), 3_000);
  applyList(results, [{ name: 'countries', version: 1 }], 'topics', 2_000, 4_000);
  assert.deepEqual(queryNames(results), ['cities', 'countries']);
  assert.equal(results.newest.has('topics'), false);
});

test('a list tells whether the server has something newer than is shown', () => {
  const results = resultsWith(frame({}, { version: 5 }));
  const behind = (listed, chosen = 'topics') => applyList(results, [{ name: 'topics', version: listed }], chosen, 2_000, 2_000);
  assert.equal(behind(5), false);
  assert.equal(behind(6), true);
  assert.equal(behind(6, 'elsewhere'), false);
});

test('the query asked for is chosen once it exists, the first one until then', () => {
  const results = createResults();
  assert.equal(chooseQuery(results, 'topics'), null);
  applyFrame(results, frame({ query: 'countries' }), 1_000);
  assert.equal(chooseQuery(results, 'topics'), 'countries');
  applyFrame(results, frame(), 1_000);
  assert.equal(chooseQuery(results, 'topics'), 'topics');
});

test('a frame of a type that is not known yet changes nothing', () => {
  assert.equal(applyFrame(createResults(), { type: 'delta' }, 1).changed, false);
});
