// The WebSocket to the server: subscribe, acknowledge, resume by cursor, reconnect.
// Guarantees:
// - There is one socket at a time. After it breaks, the last subscription is sent again with the newest cursor received
//   for it. A cursor is opaque: the newest is the one that came last.
// - A subscription's cursor is taken from its own frames only. Frames of the subscription before it may still arrive; the
//   frames of the new one begin with snapshots.
// - Only what came over this socket for this subscription is acknowledged.
// - Attempts go on even when the browser says that it is offline: that tells nothing about a server on the same machine.
// - Times are those of a clock that is never adjusted (`performance.now`).
// Nothing here writes to the console. The browser itself logs each attempt that fails, which cannot be suppressed; so
// attempts become rare, see retry.js.

import { retryAfterMs } from './retry.js';

const HANDSHAKE_MS = 10_000;
const CONNECTING = 0;
const OPEN = 1;

const BROWSER = {
  now: () => performance.now(),
  random: () => Math.random(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

// onFrame(frame) is called for every frame except `bye`, onPhase({ phase, retryAt, everOpen, resuming, refused, bye }) at
// each change:
//   phase    'connecting' | 'open' | 'waiting' for the next attempt, which comes at retryAt
//   everOpen a socket has been open before, or is
//   resuming the subscription was sent over this socket with a cursor
//   refused  the last attempt ended before the socket was open
//   bye      the reason that the server gave for closing the socket that was open last, or null
export function createSocket({ url, onFrame, onPhase, WebSocket = globalThis.WebSocket, clock = BROWSER }) {
  let socket = null;
  let timer = null;
  let failedAttempts = 0;
  let retryAtLeastMs = 0;
  let subscription = null; // { queries, cursor, before }; before: queries of the previous one, whose frames may still arrive
  let acknowledged = null;
  const status = { phase: 'connecting', retryAt: null, everOpen: false, resuming: false, refused: false, bye: null };

  function enter(phase, changes = {}) {
    Object.assign(status, { phase, retryAt: null }, changes);
    onPhase({ ...status });
  }

  function send(message) {
    if (socket !== null && socket.readyState === OPEN) socket.send(JSON.stringify(message));
  }

  function sendSubscription() {
    if (subscription === null) return;
    const { queries, cursor } = subscription;
    acknowledged = cursor;
    send(cursor === null ? { type: 'subscribe', queries } : { type: 'subscribe', queries, cursor });
  }

  function connect() {
    clock.clearTimeout(timer);
    const mine = new WebSocket(url);
    socket = mine;
    enter('connecting');
    timer = clock.setTimeout(() => lose(mine), HANDSHAKE_MS);
    mine.onopen = () => {
      if (mine !== socket) return;
      clock.clearTimeout(timer);
      const resuming = subscription !== null && subscription.cursor !== null;
      if (subscription !== null) subscription.before = null;
      sendSubscription();
      enter('open', { everOpen: true, resuming, refused: false, bye: null });
    };
    mine.onmessage = (message) => {
      if (mine === socket) receive(JSON.parse(message.data));
    };
    mine.onclose = () => lose(mine);
  }

  function receive(frame) {
    failedAttempts = 0;
    if (frame.type === 'bye') {
      retryAtLeastMs = frame.retry_ms ?? 0;
      status.bye = frame.reason ?? null;
      return;
    }
    if (frame.type === 'gap' && subscription !== null) {
      subscription.cursor = null; // it cannot be resumed from any more; snapshots follow
      acknowledged = null;
    } else if ((frame.type === 'snapshot' || frame.type === 'result') && belongsToSubscription(frame)) {
      subscription.cursor = frame.cursor;
    }
    onFrame(frame);
  }

  function belongsToSubscription(frame) {
    if (subscription === null || !includes(subscription.queries, frame.query)) return false;
    const { before } = subscription;
    if (before !== null && frame.type === 'result' && includes(before, frame.query)) return false;
    subscription.before = null;
    return true;
  }

  function lose(which) {
    if (which !== socket) return;
    const refused = status.phase === 'connecting';
    detach();
    const wait = retryAfterMs(failedAttempts, clock.random(), retryAtLeastMs);
    retryAtLeastMs = 0;
    failedAttempts += 1;
    timer = clock.setTimeout(connect, wait);
    enter('waiting', { retryAt: clock.now() + wait, refused });
  }

  // A socket that was given up may take minutes to close, and must not deliver anything meanwhile.
  function detach() {
    clock.clearTimeout(timer);
    const old = socket;
    socket = null;
    if (old === null) return;
    old.onopen = null;
    old.onmessage = null;
    old.onclose = null;
    if (old.readyState === CONNECTING || old.readyState === OPEN) old.close();
  }

  return {
    start: connect,
    // Replaces the subscription; its newest results come as snapshots.
    subscribe(queries) {
      if (subscription !== null && String(subscription.queries) === String(queries)) return;
      subscription = { queries, cursor: null, before: subscription?.queries ?? null };
      sendSubscription();
    },
    // Tells the server that everything received so far has been shown.
    acknowledge() {
      const cursor = subscription?.cursor ?? null;
      if (cursor === null || cursor === acknowledged || status.phase !== 'open') return;
      acknowledged = cursor;
      send({ type: 'ack', cursor });
    },
    retryNow() {
      if (status.phase === 'waiting') connect();
    },
    // Replaces an open socket that does not deliver any more. The new one begins with snapshots.
    renew() {
      if (status.phase !== 'open') return;
      if (subscription !== null) subscription.cursor = null;
      lose(socket);
    },
  };
}

function includes(queries, name) {
  return queries.includes('*') || queries.includes(name);
}
