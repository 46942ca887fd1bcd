// The socket to `/v1/ws`: subscribe, resume by cursor, reconnect with full-jitter backoff.
// Rely on: one socket at a time; after a break the last subscription is sent again with the newest cursor received
// for it, so that nothing between is asked for twice or missed; nothing here writes to the console. What the browser
// itself logs for a connection attempt that fails cannot be suppressed (nor could a probe by fetch), so attempts are
// few: none while the browser says that it has no network, and the wait grows to CAP_MS.

import { laterCursor } from './model.js';

const BASE_MS = 600;
const CAP_MS = 15_000;
const FLOOR_MS = 250;
const HANDSHAKE_MS = 10_000;

// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015) above a floor that keeps a crowd from a busy loop.
export function backoffMs(attempt, random) {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 10));
  return Math.round(FLOOR_MS + random * (ceiling - FLOOR_MS));
}

// onFrame(frame) for every frame but `bye`; onPhase({ phase, retryAt, everOpen }) whenever that changes.
export function createFeed({ url, onFrame, onPhase, online = () => true, WebSocket = globalThis.WebSocket, clock = globalThis }) {
  const now = () => clock.Date.now();
  let socket = null;
  let timer = null;
  let attempt = 0;
  let subscription = null; // { queries, cursor }
  let retryAtLeastMs = 0; // the server's wish, from `bye`
  const status = { phase: 'connecting', retryAt: null, everOpen: false };

  function enter(phase, retryAt = null) {
    status.phase = phase;
    status.retryAt = retryAt;
    onPhase(status);
  }

  function send(message) {
    if (socket !== null && socket.readyState === 1) socket.send(JSON.stringify(message));
  }

  function sendSubscription() {
    if (subscription === null) return;
    const { queries, cursor } = subscription;
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
      status.everOpen = true;
      sendSubscription();
      enter('open');
    };
    mine.onmessage = (message) => {
      if (mine === socket) receive(JSON.parse(message.data));
    };
    mine.onclose = () => lose(mine);
  }

  function receive(frame) {
    attempt = 0;
    if (frame.type === 'bye') {
      retryAtLeastMs = frame.retry_ms ?? 0;
    } else if (frame.type === 'gap' && subscription !== null) {
      subscription.cursor = null; // what the cursor pointed at is gone; snapshots follow
    } else if (subscription !== null && frame.cursor !== undefined && isSubscribed(frame.query)) {
      subscription.cursor = laterCursor(subscription.cursor, frame.cursor);
    }
    if (frame.type !== 'bye') onFrame(frame);
  }

  function isSubscribed(query) {
    return subscription.queries.includes('*') || subscription.queries.includes(query);
  }

  function lose(which) {
    if (which !== socket) return;
    detach();
    const wait = Math.max(retryAtLeastMs, backoffMs(attempt, clock.Math.random()));
    retryAtLeastMs = 0;
    attempt += 1;
    if (!online()) {
      enter('waiting'); // retryNow() comes with the browser's `online` event
      return;
    }
    timer = clock.setTimeout(connect, wait);
    enter('waiting', now() + wait);
  }

  // A socket that is given up on must not speak again, and may take minutes to close.
  function detach() {
    clock.clearTimeout(timer);
    const old = socket;
    socket = null;
    if (old === null) return;
    old.onopen = null;
    old.onmessage = null;
    old.onclose = null;
    if (old.readyState < 2) old.close();
  }

  return {
    start: connect,
    // Replaces the subscription; its newest results come as snapshots.
    subscribe(queries) {
      if (subscription !== null && String(subscription.queries) === String(queries)) return;
      subscription = { queries, cursor: null };
      sendSubscription();
    },
    ack(cursor) {
      send({ type: 'ack', cursor });
    },
    retryNow() {
      if (status.phase === 'waiting') connect();
    },
    // The socket is open but says nothing true any more: take another, from the snapshots.
    renew() {
      if (status.phase !== 'open') return;
      if (subscription !== null) subscription.cursor = null;
      lose(socket);
    },
  };
}
