// Whether what the page shows is true now, and what to do when it may not be: ask the server, or take a new socket.
// Pure: `now` is an argument, in milliseconds of a clock that is never set.
// Rely on: the state is `live` only while the socket is open, the server is connected to Kafka and has nothing newer,
// and a result came in the last ten seconds. Everything else has a state of its own (STATES), first match wins.

const LIST_EVERY_MS = 60_000;
const ASK_EVERY_MS = 15_000; // while nothing arrives
const ASK_AGAIN_MS = 5_000; // while the server has something that does not arrive
const RENEW_AFTER_MS = 8_000; // for so long a newer result may be known and not arrive
const RENEW_EVERY_MS = 15_000;
const GRACE_MS = 3_000; // how long a newer result, or an answer, may be on its way
const QUIET_AFTER_MS = 10_000;
const LATE_MS = 2_000; // a result that is older than this when it arrives is late
const HOLD_MS = 5_000; // a passing state is shown for this long

export const STATES = [
  'connecting', // no socket was open yet
  'offline', // no socket, after there was one or an attempt failed
  'reading', // the server has not read the results from Kafka yet
  'kafka-away', // the server cannot reach Kafka: whatever it sends may be old
  'waiting', // connected, and nothing was counted yet for the query that is shown
  'stale', // the server has a newer result than is shown, or does not answer
  'slow', // the server told that this page is too slow, and skips results
  'catching-up', // results arrive late: someone works off a backlog
  'quiet', // connected and nothing newer is known, but no result came for ten seconds
  'live',
];

export function createWatchdog() {
  return {
    socket: { phase: 'connecting', retryAt: null, everOpen: false, resuming: false, refused: false },
    openedAt: null,
    heardAt: null, // the last frame of any kind
    resultAt: null, // when the newest result that is shown was news
    newestAt: null, // when the server, at its last status, had its newest result
    lateAt: -Infinity,
    slowAt: -Infinity,
    event: { kind: null, at: -Infinity }, // 'resumed' | 'gap', with what a gap skipped
    behindSince: null, // since when the server is known to have a newer result than is shown
    askedAt: -Infinity,
    unansweredSince: null,
    unreachableSince: null, // since when questions are not even refused
    refusedAt: -Infinity, // when the last attempt failed
    renewedAt: -Infinity,
    kafkaAwaySinceMs: null, // by the reader's clock
    reading: false,
  };
}

// === what happened

export function socketChanged(watchdog, socket, now) {
  const opened = socket.phase === 'open' && watchdog.socket.phase !== 'open';
  const lost = socket.phase === 'waiting' && watchdog.socket.phase === 'open';
  watchdog.socket = socket;
  if (opened) {
    watchdog.openedAt = now;
    watchdog.heardAt = null;
    watchdog.behindSince = null;
    watchdog.unreachableSince = null;
    watchdog.reading = false;
  }
  if (socket.phase === 'waiting' && socket.refused) watchdog.refusedAt = now;
  // What the server said of Kafka is known no longer; the next socket begins with a status.
  if (lost) watchdog.kafkaAwaySinceMs = null;
}

// `said` is what results.applyFrame told of this frame; `chosen` is the query that is shown; `wallMs` is the reader's clock.
export function frameArrived(watchdog, frame, said, chosen, now, wallMs) {
  const first = watchdog.heardAt === null && now - watchdog.openedAt < HOLD_MS;
  watchdog.heardAt = now;
  if (first && watchdog.socket.resuming) watchdog.event = { kind: 'resumed', at: now };
  if (frame.type === 'status') {
    // Times are of the server's clock: what counts is how long ago they were for the server.
    const ago = (at) => (at === undefined ? null : frame.now_ms - at);
    const newestAgo = ago(frame.newest_result_ms);
    watchdog.reading = frame.kafka === 'reading';
    watchdog.kafkaAwaySinceMs = frame.kafka === 'away' ? wallMs - (ago(frame.kafka_away_since_ms) ?? 0) : null;
    watchdog.newestAt = newestAgo === null ? null : now - Math.max(0, newestAgo);
  } else if (frame.type === 'slow_down' || frame.type === 'stall_warning') {
    watchdog.slowAt = now;
  } else if (frame.type === 'gap') {
    watchdog.event = { kind: 'gap', skipped: frame.skipped ?? null, at: now };
  } else if (said.version === 'newer' && frame.query === chosen) {
    watchdog.behindSince = null;
    // A live result is news now. A snapshot is as old as the server's newest result, or older.
    watchdog.resultAt = frame.type === 'snapshot' ? watchdog.newestAt ?? now : now;
    if (frame.type === 'result' && said.lagMs > LATE_MS) watchdog.lateAt = now;
  }
}

// Another query is shown: nothing is known of it yet.
export function queryChosen(watchdog) {
  watchdog.resultAt = null;
  watchdog.behindSince = null;
  watchdog.lateAt = -Infinity;
}

export function asked(watchdog, now) {
  watchdog.askedAt = now;
  watchdog.unansweredSince = now;
}

// `answer` is that of server.askForQueries; `behind`: the server has a newer result than is shown.
export function answered(watchdog, answer, behind, now) {
  watchdog.unansweredSince = null;
  watchdog.unreachableSince = answer.kind === 'none' ? watchdog.unreachableSince ?? now : null;
  watchdog.reading = answer.kind === 'refused' && answer.reading;
  if (answer.kind !== 'list') return;
  if (behind) watchdog.behindSince ??= now;
  else watchdog.behindSince = null;
}

export function renewed(watchdog, now) {
  watchdog.renewedAt = now;
  watchdog.unreachableSince = null;
}

// === what to do now: 'ask' the server for its list, 'renew' the socket, or null

export function nextStep(watchdog, now) {
  if (watchdog.unansweredSince !== null) return null;
  // Why a socket was refused can be told over HTTP only: nobody is there, or the server is not ready. Once an attempt.
  if (watchdog.socket.phase === 'waiting') return watchdog.askedAt < watchdog.refusedAt ? 'ask' : null;
  if (watchdog.socket.phase !== 'open') return null;
  if (isDead(watchdog, now) && now - watchdog.renewedAt >= RENEW_EVERY_MS) return 'renew';
  const silent = silentMs(watchdog, now) >= QUIET_AFTER_MS;
  const every = !silent ? LIST_EVERY_MS : watchdog.behindSince === null ? ASK_EVERY_MS : ASK_AGAIN_MS;
  return watchdog.askedAt < watchdog.openedAt || now - watchdog.askedAt >= every ? 'ask' : null;
}

// The socket is open and gives nothing, and that is not because there is nothing. A server that refuses a question (too
// many connections, say) lives: its socket is kept.
function isDead(watchdog, now) {
  const missing = watchdog.behindSince !== null && now - watchdog.behindSince > RENEW_AFTER_MS;
  const unreachable = watchdog.unreachableSince !== null && silentMs(watchdog, now) >= QUIET_AFTER_MS;
  return missing || unreachable;
}

function silentMs(watchdog, now) {
  return now - (watchdog.heardAt ?? watchdog.openedAt ?? now);
}

// === what to say

// The state, one of STATES, with what its words need. `counts`: something was counted for the chosen query.
export function connectionState(watchdog, counts, now) {
  const { phase, retryAt, everOpen, refused } = watchdog.socket;
  const quietMs = watchdog.resultAt === null ? 0 : Math.max(0, now - watchdog.resultAt);
  const about = {
    quietMs,
    retryInMs: retryAt === null ? null : Math.max(0, retryAt - now),
    kafkaAwaySinceMs: watchdog.kafkaAwaySinceMs,
    event: now - watchdog.event.at < HOLD_MS ? watchdog.event : null,
  };
  const held = (at) => now - at < HOLD_MS;
  const longerThanGrace = (since) => since !== null && now - since > GRACE_MS;
  const state = () => {
    if (watchdog.reading) return 'reading';
    if (phase === 'waiting' || (phase === 'connecting' && (everOpen || refused))) return 'offline';
    if (phase === 'connecting') return 'connecting';
    if (watchdog.kafkaAwaySinceMs !== null) return 'kafka-away';
    if (longerThanGrace(watchdog.behindSince) || longerThanGrace(watchdog.unansweredSince)) return 'stale';
    if (!counts) return 'waiting';
    if (held(watchdog.slowAt)) return 'slow';
    if (held(watchdog.lateAt)) return 'catching-up';
    return quietMs >= QUIET_AFTER_MS ? 'quiet' : 'live';
  };
  return { state: state(), ...about };
}
