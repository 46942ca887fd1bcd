import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { backoffMs, createFeed } from '../feed.js';
import { frame } from './fixtures.js';

// A clock that only moves when told, and sockets that do only what a test says.
let sockets;
let timers;
let time;
let phases;
let frames;

class Socket {
  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [] });
    sockets.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  open() { this.readyState = 1; this.onopen(); }
  say(message) { this.onmessage({ data: JSON.stringify(message) }); }
  drop() { this.readyState = 3; this.onclose?.(); }
}

const clock = {
  Date: { now: () => time },
  Math: { random: () => 0.5 },
  setTimeout: (run, ms) => timers.push({ run, due: time + ms, live: true }),
  clearTimeout: (id) => { if (id) timers[id - 1].live = false; },
};

function advance(ms) {
  const end = time + ms;
  for (;;) {
    const due = timers.filter((timer) => timer.live && timer.due <= end).sort((a, b) => a.due - b.due)[0];
    if (!due) break;
    due.live = false;
    time = due.due;
    due.run();
  }
  time = end;
}

function start(options = {}) {
  const feed = createFeed({
    url: 'ws://here/v1/ws',
    WebSocket: Socket,
    clock,
    onFrame: (each) => frames.push(each),
    onPhase: (status) => phases.push(status.phase),
    ...options,
  });
  feed.subscribe(['topics']);
  feed.start();
  return feed;
}

const newest = () => sockets.at(-1);

// Lets time pass until the next attempt; how long that took.
function nextAttempt() {
  const before = time;
  const known = sockets.length;
  while (sockets.length === known && time - before < 60_000) advance(1);
  assert.equal(sockets.length, known + 1);
  return time - before;
}

beforeEach(() => {
  sockets = [];
  timers = [];
  time = 0;
  phases = [];
  frames = [];
});

test('the wait grows to a cap, is jittered, and never drops below the floor', () => {
  assert.equal(backoffMs(0, 0), 250);
  assert.equal(backoffMs(0, 1), 600);
  assert.equal(backoffMs(50, 1), 15_000);
  assert.equal(backoffMs(50, 0), 250);
});

test('a socket that breaks is replaced, and the stream resumes after the newest cursor', () => {
  start();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
  newest().say(frame({ cursor: '0000000e-7' }));
  newest().say(frame({ cursor: '0000000e-9' }));
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'], cursor: '0000000e-9' }]);
  assert.equal(frames.length, 2);
});

test('another subscription starts from the snapshots, even when the socket breaks before they come', () => {
  const feed = start();
  newest().open();
  newest().say(frame({ cursor: '0000000e-7' }));
  feed.subscribe(['countries']);
  newest().say(frame({ cursor: '0000000e-8' })); // of the old subscription, on its way
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['countries'] }]);
});

test('subscribing to the same again sends nothing', () => {
  const feed = start();
  newest().open();
  feed.subscribe(['topics']);
  assert.equal(newest().sent.length, 1);
});

test('after a gap the old cursor is not given again', () => {
  start();
  newest().open();
  newest().say(frame({ cursor: '0000000e-7' }));
  newest().say({ type: 'gap', from: '0000000e-7' });
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
});

test('a server that says goodbye is not called before it asked to be', () => {
  start();
  newest().open();
  newest().say({ type: 'bye', reason: 'shutdown', retry_ms: 4_000 });
  newest().drop();
  advance(3_999);
  assert.equal(sockets.length, 1);
  advance(1);
  assert.equal(sockets.length, 2);
  assert.deepEqual(frames, []);
});

test('attempts become rarer while nothing answers, and start over after a frame', () => {
  start();
  const gaps = [];
  for (let i = 0; i < 8; i += 1) {
    newest().drop();
    gaps.push(nextAttempt());
  }
  assert.deepEqual(gaps, [...gaps].sort((a, b) => a - b));
  assert.ok(gaps.at(-1) > 5_000, `${gaps}`);
  newest().open();
  newest().say(frame());
  newest().drop();
  assert.ok(nextAttempt() <= 600);
});

test('without a network nothing is tried until the browser has one', () => {
  let network = false;
  const feed = start({ online: () => network });
  newest().drop();
  advance(600_000);
  assert.equal(sockets.length, 1);
  network = true;
  feed.retryNow();
  assert.equal(sockets.length, 2);
});

test('a handshake that never ends is given up', () => {
  start();
  const first = newest();
  advance(10_000);
  assert.equal(first.readyState, 3);
  nextAttempt();
});

test('a socket that was given up is not heard any more', () => {
  const feed = start();
  const first = newest();
  first.open();
  first.say(frame({ cursor: '0000000e-7' }));
  feed.renew();
  assert.equal(first.onmessage, null);
  assert.equal(phases.at(-1), 'waiting');
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
});

test('an acknowledgement goes out only over an open socket', () => {
  const feed = start();
  feed.ack('0000000e-1');
  newest().open();
  feed.ack('0000000e-2');
  assert.deepEqual(newest().sent.slice(1), [{ type: 'ack', cursor: '0000000e-2' }]);
});
