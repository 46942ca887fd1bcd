import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { answered, asked, connectionState, createWatchdog, frameArrived, nextStep, queryChosen, renewed, socketChanged, STATES } from '../watchdog.js';
import { frame, OPEN, snapshot } from './fixtures.js';

const NEWER = { changed: true, version: 'newer', lagMs: 5 };
const SAME = { changed: true, version: 'same', lagMs: 5 };
const NOTHING = { changed: true, version: null, lagMs: null };
const LIST = { kind: 'list', queries: [] };
const WAITING = { ...OPEN, phase: 'waiting', retryAt: 5_000 };

let watchdog;

beforeEach(() => {
  watchdog = createWatchdog();
  socketChanged(watchdog, OPEN, 0);
});

const WALL = 1_700_000_000_000; // the reader's clock when the test's own clock is at 0

const arrive = (each, said, now) => frameArrived(watchdog, each, said, 'topics', now, WALL + now);
const status = (fields, now) => arrive({ type: 'status', now_ms: 5_000_000, kafka: 'connected', ...fields }, NOTHING, now);
const at = (now, counts = true) => connectionState(watchdog, counts, now).state;

function answer(what, behind, now) {
  asked(watchdog, now);
  answered(watchdog, what, behind, now);
}

// === the state to show

test('it is live while results come, and quiet ten seconds after the last one', () => {
  arrive(frame(), NEWER, 1_000);
  assert.equal(at(10_999), 'live');
  assert.equal(at(11_000), 'quiet');
  assert.equal(connectionState(watchdog, true, 601_000).quietMs, 600_000);
  arrive(frame(), NEWER, 602_000);
  assert.equal(at(602_000), 'live');
});

test('neither a result of another query, nor one that is sent again, nor a status makes it live', () => {
  arrive(frame(), NEWER, 0);
  arrive(frame({ query: 'countries' }), NEWER, 20_000);
  arrive(frame(), SAME, 20_000);
  status({}, 20_000);
  assert.equal(at(20_000), 'quiet');
});

test('a snapshot is as old as the server’s newest result, by the server’s clock', () => {
  status({ newest_result_ms: 5_000_000 - 3_600_000 }, 1_000);
  arrive(snapshot(), NEWER, 1_000);
  assert.deepEqual([at(1_000), connectionState(watchdog, true, 1_000).quietMs], ['quiet', 3_600_000]);
  arrive(frame(), NEWER, 2_000);
  assert.equal(at(2_000), 'live');
});

test('while the server cannot reach Kafka it is never live, whatever else arrives', () => {
  arrive(frame(), NEWER, 1_000);
  status({ kafka: 'away', kafka_away_since_ms: 5_000_000 - 3_000 }, 4_000);
  assert.equal(at(4_000), 'kafka-away');
  arrive(snapshot(), NEWER, 5_000);
  assert.equal(at(5_000), 'kafka-away');
  // Three seconds before the status came, by the reader's clock, whatever the server's clock says.
  assert.equal(connectionState(watchdog, true, 5_000).kafkaAwaySinceMs, WALL + 1_000);
  status({}, 6_000);
  assert.equal(at(6_000), 'live');
});

test('after the socket is lost the page no longer says what the server said of Kafka', () => {
  status({ kafka: 'away', kafka_away_since_ms: 1 }, 1_000);
  socketChanged(watchdog, WAITING, 2_000);
  assert.equal(at(2_000), 'offline');
  socketChanged(watchdog, OPEN, 3_000);
  arrive(frame(), NEWER, 3_000);
  assert.equal(at(3_000), 'live');
});

test('a state of Kafka that is not known yet changes nothing', () => {
  arrive(frame(), NEWER, 1_000);
  status({ kafka: 'rebalancing' }, 1_000);
  assert.equal(at(1_000), 'live');
});

test('a server that has not read the results yet is reading, over the socket and over HTTP', () => {
  status({ kafka: 'reading' }, 1_000);
  assert.equal(at(1_000, false), 'reading');
  status({}, 2_000);
  assert.equal(at(2_000, false), 'waiting');
  socketChanged(watchdog, { ...WAITING, refused: true }, 3_000);
  answer({ kind: 'refused', reading: true }, false, 3_500);
  assert.equal(at(3_500), 'reading');
  answer({ kind: 'none' }, false, 4_000);
  assert.equal(at(4_000), 'offline');
});

test('before the first result the page waits; without a socket it connects, or is offline', () => {
  assert.equal(at(0, false), 'waiting');
  socketChanged(watchdog, { ...OPEN, phase: 'connecting', everOpen: false }, 1);
  assert.equal(at(1, false), 'connecting');
  socketChanged(watchdog, { ...OPEN, phase: 'connecting', everOpen: false, refused: true }, 1);
  assert.equal(at(1, false), 'offline');
  socketChanged(watchdog, { ...OPEN, phase: 'connecting' }, 1);
  assert.equal(at(1), 'offline');
  socketChanged(watchdog, WAITING, 1);
  assert.deepEqual([at(1), connectionState(watchdog, true, 1).retryInMs], ['offline', 4_999]);
});

test('a newer result that does not arrive is stale, after a grace', () => {
  arrive(frame(), NEWER, 0);
  answer(LIST, false, 20_000);
  assert.equal(at(60_000), 'quiet');
  answer(LIST, true, 60_000);
  assert.equal(at(63_000), 'quiet');
  assert.equal(at(63_001), 'stale');
  assert.equal(at(63_001, false), 'stale');
  arrive(frame(), NEWER, 64_000);
  assert.equal(at(64_000), 'live');
});

test('a question without an answer is stale, after the same grace', () => {
  arrive(frame(), NEWER, 0);
  asked(watchdog, 5_000);
  assert.equal(at(8_000), 'live');
  assert.equal(at(8_001), 'stale');
});

test('results that arrive late are catching up until none is late for a while', () => {
  arrive(frame(), { ...NEWER, lagMs: 40_000 }, 1_000);
  assert.equal(at(5_999), 'catching-up');
  assert.equal(at(6_000), 'live');
  arrive(frame(), { ...SAME, lagMs: 40_000 }, 7_000); // published again after a restart
  assert.equal(at(7_000), 'live');
});

test('a page that the server calls slow says so', () => {
  arrive(frame(), NEWER, 1_000);
  arrive({ type: 'slow_down', percent_full: 50 }, NOTHING, 1_000);
  assert.equal(at(1_500), 'slow');
  assert.equal(at(6_000), 'live');
});

test('a slow page gets every result until the server says that it skips some', () => {
  const stalled = (now) => connectionState(watchdog, true, now).stalled;
  arrive({ type: 'slow_down', percent_full: 50 }, NOTHING, 1_000);
  assert.equal(stalled(1_000), false);
  arrive({ type: 'stall_warning', percent_full: 60, skipped: 7 }, NOTHING, 2_000);
  assert.equal(stalled(2_000), true);
  arrive({ type: 'slow_down', percent_full: 50 }, NOTHING, 60_000); // it kept up in between
  assert.equal(stalled(60_000), false);
});

test('resuming and gaps are told for some seconds', () => {
  const event = (now) => connectionState(watchdog, true, now).event?.kind ?? null;
  arrive(frame(), NEWER, 0);
  assert.equal(event(0), null);
  socketChanged(watchdog, WAITING, 1_000);
  socketChanged(watchdog, { ...OPEN, resuming: true }, 2_000);
  assert.equal(event(2_000), null); // the server may still refuse the cursor
  arrive(frame(), NEWER, 2_100);
  assert.equal(event(2_100), 'resumed');
  assert.equal(event(7_100), null);
  socketChanged(watchdog, WAITING, 8_000);
  socketChanged(watchdog, { ...OPEN, resuming: true }, 9_000);
  arrive({ type: 'gap', from: 'c1', skipped: 4 }, NOTHING, 9_000);
  assert.deepEqual(connectionState(watchdog, true, 9_000).event, { kind: 'gap', skipped: 4, at: 9_000 });
});

test('another query begins without the former one’s state', () => {
  arrive(frame(), { ...NEWER, lagMs: 40_000 }, 1_000);
  answer(LIST, true, 1_000);
  queryChosen(watchdog);
  assert.equal(at(60_000, false), 'waiting');
});

// === what to do

test('the server is asked at once, then every minute while results come, and sooner while none does', () => {
  assert.equal(nextStep(watchdog, 0), 'ask');
  answer(LIST, false, 0);
  for (let now = 1_000; now < 60_000; now += 1_000) {
    arrive(frame(), NEWER, now);
    assert.equal(nextStep(watchdog, now), null);
  }
  assert.equal(nextStep(watchdog, 60_000), 'ask');
  answer(LIST, false, 60_000);
  assert.equal(nextStep(watchdog, 74_999), null);
  assert.equal(nextStep(watchdog, 75_000), 'ask');
});

test('no question is asked while one is open', () => {
  asked(watchdog, 0);
  assert.equal(nextStep(watchdog, 600_000), null);
});

test('a socket that withholds a newer result is replaced, and not more often than every fifteen seconds', () => {
  answer(LIST, true, 0);
  assert.equal(nextStep(watchdog, 8_000), null);
  assert.equal(nextStep(watchdog, 8_001), 'renew');
  renewed(watchdog, 8_001);
  socketChanged(watchdog, WAITING, 8_001);
  socketChanged(watchdog, OPEN, 9_000);
  answer(LIST, true, 9_000);
  assert.equal(nextStep(watchdog, 23_000), 'ask');
  answer(LIST, true, 23_000);
  assert.equal(nextStep(watchdog, 23_001), 'renew');
});

test('a silent socket is replaced when nobody answers over HTTP either', () => {
  answer(LIST, false, 0);
  answer({ kind: 'none' }, false, 15_000);
  assert.equal(nextStep(watchdog, 15_000), 'renew');
});

test('a question that is refused, or lost while results come, costs a healthy socket nothing', () => {
  arrive(frame(), NEWER, 0);
  for (let now = 15_000; now < 600_000; now += 15_000) {
    answer({ kind: 'refused', reading: false }, false, now);
    assert.equal(nextStep(watchdog, now + 1), null);
    assert.equal(at(now + 1), 'quiet');
  }
  arrive(frame(), NEWER, 600_000);
  answer({ kind: 'none' }, false, 600_000);
  assert.equal(nextStep(watchdog, 600_001), null);
  assert.equal(at(600_001), 'live');
});

test('after a refused attempt the server is asked why, once', () => {
  socketChanged(watchdog, WAITING, 1_000);
  assert.equal(nextStep(watchdog, 1_000), null); // the socket broke after it was open, which is no refusal
  socketChanged(watchdog, { ...WAITING, refused: true }, 2_000);
  assert.equal(nextStep(watchdog, 2_001), 'ask');
  answer({ kind: 'none' }, false, 2_001);
  assert.equal(nextStep(watchdog, 2_002), null);
  socketChanged(watchdog, { ...WAITING, refused: true }, 4_000);
  assert.equal(nextStep(watchdog, 4_001), 'ask');
});

test('every state is in the list', () => {
  assert.equal(new Set(STATES).size, STATES.length);
  assert.ok(STATES.includes(at(0)));
});
