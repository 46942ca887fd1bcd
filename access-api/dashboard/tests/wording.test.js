import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFormat } from '../format.js';
import { createResults } from '../results.js';
import { STATES } from '../watchdog.js';
import { detailText, emptyText, legendText, missing, noticeText, STATE_WORDS } from '../wording.js';
import { result } from './fixtures.js';

const format = createFormat('en-GB', 'UTC');
const calm = { quietMs: 0, lagMs: null, retryInMs: null, bye: null, stalled: false, kafkaAwaySinceMs: null, event: null, wallMs: Date.UTC(2026, 0, 1, 14) };
const detail = (fields) => detailText(format, { ...calm, ...fields });

test('every state has a word of its own', () => {
  assert.deepEqual(Object.keys(STATE_WORDS).sort(), [...STATES].sort());
  assert.equal(new Set(Object.values(STATE_WORDS)).size, STATES.length);
});

test('offline counts down and never to zero', () => {
  assert.equal(detail({ state: 'offline', retryInMs: 3_200 }), 'reconnecting in 4 s');
  assert.equal(detail({ state: 'offline', retryInMs: 0 }), 'reconnecting in 1 s');
  assert.equal(detail({ state: 'offline' }), 'reconnecting');
});

test('offline says why the server closed the connection, if that tells a reader something', () => {
  assert.equal(detail({ state: 'offline', bye: 'shutdown', retryInMs: 3_200 }), 'the server stopped; reconnecting in 4 s');
  assert.equal(detail({ state: 'offline', bye: 'stalled' }), 'this page was too slow; reconnecting');
  assert.equal(detail({ state: 'offline', bye: 'constructor' }), 'reconnecting');
});

test('a slow page says that results are skipped only when they are', () => {
  assert.equal(detail({ state: 'slow' }), 'this page falls behind the server');
  assert.equal(detail({ state: 'slow', stalled: true }), 'this page is behind and gets only the newest results');
});

test('a quiet stream says for how long no result came', () => {
  assert.equal(detail({ state: 'quiet', quietMs: 25_000 }), 'no result for 25 s');
  assert.equal(detail({ state: 'quiet', quietMs: 125_000 }), 'no result for 2 min');
});

test('Kafka is away since a time of day, and since a day when it was another one', () => {
  assert.match(detail({ state: 'kafka-away', kafkaAwaySinceMs: Date.UTC(2026, 0, 1, 13, 3, 22) }), /^since 13:03:22;/);
  assert.match(detail({ state: 'kafka-away', kafkaAwaySinceMs: Date.UTC(2025, 11, 31, 13, 3, 22) }), /^since 31 Dec 2025, 13:03:22;/);
});

test('resuming and gaps are told in words when the state has no details of its own', () => {
  assert.equal(detail({ state: 'live' }), '');
  assert.equal(detail({ state: 'live', event: { kind: 'resumed' } }), 'resumed where the connection broke');
  assert.equal(detail({ state: 'live', event: { kind: 'gap', skipped: 1_200 } }), '1,200 updates were missed');
  assert.equal(detail({ state: 'live', event: { kind: 'gap', skipped: null } }), 'some updates were missed');
  assert.match(detail({ state: 'quiet', quietMs: 11_000, event: { kind: 'resumed' } }), /^no result/);
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
});

test('what is missing of the sources is told with its times, and what is left out on purpose is not', () => {
  const exact = [{ item: 'a', count: 5, error: 0 }];
  const last = [
    { from_ms: null, to_ms: 0, source: 'orders', cause: 'gap' },
    { from_ms: 86_400_000, to_ms: 86_401_000, source: 'orders', cause: 'shed', events: 120 },
  ];
  const missed = { gaps: 1, dropped: 0, shed: 120, filtered: 7, last };
  assert.match(legendText(format, result({ missed }), exact).text, /did not arrive/);
  const { value, text, title } = missing(format, missed);
  assert.equal(value, 121);
  assert.equal(text, '1 gap, 120 messages');
  assert.match(title, /^orders: gap, before .*; orders: shed, .* to .*$/);
  assert.equal(missing(format, { gaps: 0, dropped: 0, shed: 0, filtered: 9, last: [] }).value, 0);
  assert.equal(missing(format, undefined).value, 0);
});

test('a notice tells what was refused, and what cannot be drawn', () => {
  const results = createResults();
  assert.equal(noticeText(results, 'topics'), null);
  results.problem = { message: 'no such query' };
  assert.equal(noticeText(results, 'topics'), 'The server refused: no such query');
  results.unranked.add('prices');
  assert.match(noticeText(results, 'prices'), /“prices”/);
});
