import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { createAnnouncer } from '../announcer.js';
import { createFormat } from '../format.js';
import { createState, receiveAnswer, receiveFrame, subscription, togglePause, wantQuery, wantSize } from '../state.js';
import { viewOf } from '../view.js';
import { socketChanged } from '../watchdog.js';
import { frame, OPEN, snapshot } from './fixtures.js';

const format = createFormat('en-GB', 'UTC');
let state;

beforeEach(() => {
  state = createState({ query: null, n: 10 });
  socketChanged(state.watchdog, OPEN, 0);
});

const view = (now = 1_000) => viewOf(state, format, now, Date.UTC(2026, 0, 1));
const list = (...names) => ({ kind: 'list', queries: names.map((name) => ({ name, kind: 'top', version: 1 })) });

test('everything is listened to until the wanted query exists', () => {
  wantQuery(state, 'cities');
  assert.deepEqual(subscription(state), ['*']);
  receiveFrame(state, snapshot(), 0);
  assert.deepEqual([view().query, subscription(state)], ['topics', ['*']]);
  receiveFrame(state, snapshot({ query: 'cities' }), 0);
  assert.deepEqual([view().query, subscription(state)], ['cities', ['cities']]);
});

test('before any result the page says that it waits, and what to do', () => {
  assert.deepEqual([view().state, view().empty.title], ['waiting', 'No results yet']);
  receiveAnswer(state, list('topics'), 0, 500); // it exists, its first result is on its way
  assert.deepEqual([view().state, view().empty], ['waiting', null]);
});

test('a result that counts nothing yet is not live', () => {
  receiveFrame(state, frame({}, { version: 0, events: 0, top: [] }), 500);
  assert.deepEqual([view().state, view().detail, view().empty.title], ['waiting', 'for the first event', 'Waiting for the first event']);
  receiveFrame(state, frame({}, { version: 1 }), 600);
  assert.equal(view().state, 'live');
});

test('a query that retired gives way to the first that there is', () => {
  receiveFrame(state, snapshot(), 0);
  receiveAnswer(state, list('cities', 'countries'), 10, 20);
  assert.deepEqual([view().query, view().queries], ['cities', ['cities', 'countries']]);
});

test('a result with a field that a reader does not know, and without those that are optional, is shown', () => {
  const bare = { query: 'topics', version: 3, as_of_ms: 0, window: { kind: 'hopping' }, total: 1, events: 1, ceiling: 0, novelty: [1], top: [{ item: 'a', count: 1, error: 0 }] };
  receiveFrame(state, { type: 'snapshot', query: 'topics', cursor: 'c', lag_ms: 0, result: bare }, 0);
  assert.deepEqual([view().window, view().top.length], ['hopping', 1]);
});

test('a pause holds the picture and counts what it holds back', () => {
  receiveFrame(state, snapshot({}, { version: 1 }), 0);
  togglePause(state);
  receiveFrame(state, frame({}, { version: 2 }), 1);
  receiveFrame(state, frame({}, { version: 3 }), 2);
  assert.deepEqual([view().result.version, view().held], [1, 2]);
  togglePause(state);
  assert.deepEqual([view().result.version, view().held], [3, 0]);
});

test('the size cuts the ranking', () => {
  const top = Array.from({ length: 30 }, (_, index) => ({ item: `i${index}`, count: 30 - index, error: 0 }));
  receiveFrame(state, snapshot({}, { top }), 0);
  assert.equal(view().top.length, 10);
  wantSize(state, 25);
  assert.deepEqual([view().top.length, state.fresh], [25, true]);
});

test('“Live” stands only beside the state', () => {
  receiveFrame(state, frame(), 0);
  assert.deepEqual([view().word, view().detail], ['Live', '']);
  receiveFrame(state, { type: 'status', kafka: 'away', now_ms: 10_000, kafka_away_since_ms: 8_000 }, 500, Date.UTC(2026, 0, 1, 13, 3, 24));
  assert.deepEqual([view().word, view().detail.split(';')[0]], ['Kafka away', 'since 13:03:22']);
  receiveFrame(state, { type: 'status', kafka: 'connected', now_ms: 11_000 }, 600, 0);
  assert.equal(view().word, 'Live');
});

test('a screen reader hears the leaders when they changed, and seldom', () => {
  const announcement = createAnnouncer();
  receiveFrame(state, frame(), 0);
  assert.equal(announcement(view(), 0), 'topics: Social lead.');
  receiveFrame(state, frame({}, { version: 2, top: [{ item: 'Wine', count: 2, error: 0 }] }), 1_000);
  assert.equal(announcement(view(), 14_999), null);
  assert.equal(announcement(view(), 15_000), 'topics: Wine lead.');
  assert.equal(announcement(view(), 60_000), null);
});
