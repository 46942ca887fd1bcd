import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFormat } from '../format.js';
import { detailText, emptyText, legendText, STATE_WORDS } from '../status.js';
import { result } from './fixtures.js';

const format = createFormat('en-GB', 'UTC');
const calm = { quietMs: 0, lagMs: null, retryInMs: null, networkGone: false };

test('every state has a word of its own', () => {
  assert.equal(new Set(Object.values(STATE_WORDS)).size, 5);
});

test('offline counts down and never to zero', () => {
  assert.equal(detailText(format, { ...calm, state: 'offline', retryInMs: 3_200 }), 'reconnecting in 4 s');
  assert.equal(detailText(format, { ...calm, state: 'offline', retryInMs: -5 }), 'reconnecting in 1 s');
  assert.equal(detailText(format, { ...calm, state: 'offline', networkGone: true }), 'this device has no network');
});

test('a quiet stream says for how long', () => {
  assert.equal(detailText(format, { ...calm, state: 'live', quietMs: 125_000 }), 'quiet: nothing new for 2 min');
});

test('each kind of emptiness says what to do', () => {
  const sliding = { kind: 'sliding', size_ms: 1_800_000, slide_ms: 5_000, start_ms: 0, end_ms: 0 };
  const titles = [null, result({ events: 0, top: [] }), result({ events: 9, top: [], window: sliding }), result({ events: 9, top: [] })]
    .map((each) => emptyText(format, 'topics', each))
    .map(({ title, text, steps }) => {
      assert.ok(text.length > 0 && steps.length > 0);
      return title;
    });
  assert.equal(new Set(titles).size, 4);
});

test('the legend claims exactness only where every count shown is exact', () => {
  const exact = [{ item: 'a', count: 5, error: 0 }];
  assert.equal(legendText(format, result(), exact).text, 'Exact: every event counted once.');
  assert.match(legendText(format, result({ ceiling: 3 }), exact).text, /at most 3/);
  assert.deepEqual(legendText(format, result({ ceiling: 31 }), [{ item: 'a', count: 5, error: 1 }]).uncertain, true);
  assert.match(legendText(format, result({ gaps: [{ partition: 0, from: 1, to: 3 }] }), exact).text, /lost/);
  assert.match(legendText(format, result({ shed_rate: 0.25 }), exact).text, /25.?%/);
});
