import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { createSocket } from '../socket.js';
import { frame, snapshot } from './fixtures.js';

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
  now: () => time,
  random: () => 0.5,
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
  const socket = createSocket({
    url: 'ws://here/v1/ws',
    WebSocket: Socket,
    clock,
    onFrame: (each) => frames.push(each),
    onPhase: (status) => phases.push(status),
    ...options,
  });
  socket.subscribe(['topics']);
  socket.start();
  return socket;
}

const newest = () => sockets.at(-1);

// Lets time pass until the next attempt. Returns how long that took.
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

test('a socket that breaks is replaced, and the stream resumes after the newest cursor', () => {
  start();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
  newest().say(snapshot({ cursor: 'seven' }));
  newest().say(frame({ cursor: 'nine' }));
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'], cursor: 'nine' }]);
  assert.equal(phases.at(-1).resuming, true);
  assert.equal(frames.length, 2);
});

test('another subscription starts from the snapshots, even when the socket breaks before they come', () => {
  const socket = start();
  newest().open();
  newest().say(snapshot({ cursor: 'seven' }));
  socket.subscribe(['countries']);
  newest().say(frame({ cursor: 'eight' })); // of the old subscription, on its way
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['countries'] }]);
});

test('a wider subscription takes no cursor from the one before, which says nothing of the queries that are new', () => {
  const socket = start();
  newest().open();
  newest().say(snapshot({ cursor: 'twenty' }));
  socket.subscribe(['*']);
  newest().say(frame({ cursor: 'twenty-one' })); // of the old subscription, on its way
  socket.acknowledge();
  assert.equal(newest().sent.length, 2);
  newest().say(snapshot({ cursor: 'five', query: 'countries' }));
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['*'], cursor: 'five' }]);
});

test('subscribing to the same again sends nothing', () => {
  const socket = start();
  newest().open();
  socket.subscribe(['topics']);
  assert.equal(newest().sent.length, 1);
});

test('after a gap the old cursor is not given again', () => {
  start();
  newest().open();
  newest().say(snapshot({ cursor: 'seven' }));
  newest().say({ type: 'gap', from: 'seven' });
  newest().drop();
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
});

test('after a bye the page does not connect before the time that the server asked for', () => {
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

test('the reason of a bye is told until a socket is open again', () => {
  start();
  newest().open();
  newest().say({ type: 'bye', reason: 'shutdown', retry_ms: 0 });
  newest().drop();
  nextAttempt();
  newest().drop();
  assert.equal(phases.at(-1).bye, 'shutdown');
  nextAttempt();
  newest().open();
  newest().drop();
  assert.equal(phases.at(-1).bye, null);
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

test('attempts go on whatever the browser believes of the network', () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { onLine: false }, configurable: true });
  try {
    start();
    newest().drop();
    nextAttempt();
    newest().open();
    assert.equal(phases.at(-1).phase, 'open');
  } finally {
    if (before) Object.defineProperty(globalThis, 'navigator', before);
    else delete globalThis.navigator;
  }
});

test('a wall clock that is set back an hour delays no attempt', (context) => {
  start();
  newest().drop();
  context.mock.method(Date, 'now', () => -3_600_000);
  assert.ok(nextAttempt() <= 600);
});

test('an attempt that fails is told apart from a socket that breaks', () => {
  start();
  newest().drop();
  assert.equal(phases.at(-1).refused, true);
  nextAttempt();
  newest().open();
  newest().drop();
  assert.equal(phases.at(-1).refused, false);
});

test('a handshake that never ends is given up', () => {
  start();
  const first = newest();
  advance(10_000);
  assert.equal(first.readyState, 3);
  nextAttempt();
});

test('a socket that was given up is not heard any more', () => {
  const socket = start();
  const first = newest();
  first.open();
  first.say(snapshot({ cursor: 'seven' }));
  socket.renew();
  assert.equal(first.onmessage, null);
  assert.equal(phases.at(-1).phase, 'waiting');
  nextAttempt();
  newest().open();
  assert.deepEqual(newest().sent, [{ type: 'subscribe', queries: ['topics'] }]);
});

test('nothing is acknowledged before a result came, nor twice, nor again over the next socket', () => {
  const socket = start();
  const acks = () => newest().sent.filter((message) => message.type === 'ack').map((message) => message.cursor);
  socket.acknowledge();
  newest().open();
  socket.acknowledge();
  newest().say({ type: 'status' });
  socket.acknowledge();
  assert.deepEqual(acks(), []);
  newest().say(snapshot({ cursor: 'seven' }));
  socket.acknowledge();
  socket.acknowledge();
  assert.deepEqual(acks(), ['seven']);
  newest().drop();
  nextAttempt();
  newest().open();
  socket.acknowledge();
  assert.deepEqual(acks(), []);
  newest().say(frame({ cursor: 'eight' }));
  socket.acknowledge();
  assert.deepEqual(acks(), ['eight']);
});
