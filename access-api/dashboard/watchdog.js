// Decides whether the page shows current results, and what to do when it may not: ask the server, or open a new socket.
// Pure: `now` is an argument, in milliseconds of a clock that is never adjusted.
// Guarantees: the state is `live` only while the socket is open, the server is connected to Kafka, is not known to have
// anything newer, and a result came in the last ten seconds. Every other situation has a state of its own in STATES.

const LIST_EVERY_MS = 60_000;
const ASK_EVERY_MS = 15_000; // while nothing arrives
const ASK_AGAIN_MS = 5_000; // while nothing arrives although the server has a newer result
const RENEW_AFTER_MS = 8_000; // how long a newer result may be known and not arrive before the socket is replaced
const RENEW_EVERY_MS = 15_000;
const GRACE_MS = 3_000; // how long a newer result, or an answer, may take before the page counts as stale
const QUIET_AFTER_MS = 10_000;
const LATE_MS = 2_000; // a result whose lag is larger than this is late
const HOLD_MS = 5_000; // how long a momentary state stays visible

export const STATES = [
  'connecting', // no socket was open yet
  'offline', // no socket is open, and one was open before or an attempt failed
  'reading', // the server has not read the results from Kafka yet
  'kafka-away', // the server cannot reach Kafka: what it sends may be old
  'waiting', // connected, but nothing was counted yet for the query that is shown
  'stale', // the server has a newer result than is shown, or does not answer
  'slow', // the server has said that this page is too slow
  'catching-up', // results arrive late, because the analyzer or the collector works off a backlog
  'quiet', // connected and nothing newer is known, but no result came for ten seconds
  'live',
];

export function createWatchdog() {
  return {
    socket: { phase: 'connecting', retryAt: null, everOpen: false, resuming: false, refused: false, bye: null },
    openedAt: null,
    heardAt: null, // when the last frame of any kind arrived
    resultAt: null, // when the result that is shown was new
    newestAt: null, // when the server's newest result was published, according to its last status
    lateAt: -Infinity,
    slowAt: -Infinity,
    stalled: false, // what it said last of that is that it skips results for this page
    event: { kind: null, at: -Infinity }, // 'resumed' | 'gap', a gap with the number of skipped results
    behindSince: null, // since when the server is known to have a newer result than is shown
    askedAt: -Infinity,
    unansweredSince: null,
    unreachableSince: null, // since when requests get no answer at all
    refusedAt: -Infinity, // when the last attempt failed
    renewedAt: -Infinity,
    kafkaAwaySinceMs: null, // by the reader's clock
    reading: false,
  };
}

// === events

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
  // What the server said about Kafka may not be true any more; the next socket begins with a status.
  if (lost) watchdog.kafkaAwaySinceMs = null;
}

// `said` is what results.applyFrame returned for this frame; `chosen` is the query that is shown; `wallMs` is the reader's clock.
export function frameArrived(watchdog, frame, said, chosen, now, wallMs) {
  const first = watchdog.heardAt === null && now - watchdog.openedAt < HOLD_MS;
  watchdog.heardAt = now;
  if (first && watchdog.socket.resuming) watchdog.event = { kind: 'resumed', at: now };
  if (frame.type === 'status') {
    // Times are those of the server's clock, so that only their distance from the server's `now_ms` is used.
    const ago = (at) => (at === undefined ? null : frame.now_ms - at);
    const newestAgo = ago(frame.newest_result_ms);
    watchdog.reading = frame.kafka === 'reading';
    watchdog.kafkaAwaySinceMs = frame.kafka === 'away' ? wallMs - (ago(frame.kafka_away_since_ms) ?? 0) : null;
    watchdog.newestAt = newestAgo === null ? null : now - Math.max(0, newestAgo);
  } else if (frame.type === 'slow_down' || frame.type === 'stall_warning') {
    watchdog.slowAt = now;
    watchdog.stalled = frame.type === 'stall_warning';
  } else if (frame.type === 'gap') {
    watchdog.event = { kind: 'gap', skipped: frame.skipped ?? null, at: now };
  } else if (said.version === 'newer' && frame.query === chosen) {
    watchdog.behindSince = null;
    // A live result is new now. A snapshot is at least as old as the server's newest result.
    watchdog.resultAt = frame.type === 'snapshot' ? watchdog.newestAt ?? now : now;
    if (frame.type === 'result' && said.lagMs > LATE_MS) watchdog.lateAt = now;
  }
}

// Another query is shown, about which nothing is known yet.
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
  // Only HTTP tells why a socket was refused (no server, or one that is not ready). It is asked once for each attempt.
  if (watchdog.socket.phase === 'waiting') return watchdog.askedAt < watchdog.refusedAt ? 'ask' : null;
  if (watchdog.socket.phase !== 'open') return null;
  if (isDead(watchdog, now) && now - watchdog.renewedAt >= RENEW_EVERY_MS) return 'renew';
  const silent = silentMs(watchdog, now) >= QUIET_AFTER_MS;
  const every = !silent ? LIST_EVERY_MS : watchdog.behindSince === null ? ASK_EVERY_MS : ASK_AGAIN_MS;
  return watchdog.askedAt < watchdog.openedAt || now - watchdog.askedAt >= every ? 'ask' : null;
}

// Whether the socket is open but does not deliver, although the server has something or cannot be reached. A server that
// refuses a request (because of too many connections, for example) is alive, so that its socket is kept.
function isDead(watchdog, now) {
  const missing = watchdog.behindSince !== null && now - watchdog.behindSince > RENEW_AFTER_MS;
  const unreachable = watchdog.unreachableSince !== null && silentMs(watchdog, now) >= QUIET_AFTER_MS;
  return missing || unreachable;
}

function silentMs(watchdog, now) {
  return now - (watchdog.heardAt ?? watchdog.openedAt ?? now);
}

// === the state to show

// The state, one of STATES, and the values that its text needs. `counts`: something was counted for the chosen query.
export function connectionState(watchdog, counts, now) {
  const { phase, retryAt, everOpen, refused, bye } = watchdog.socket;
  const quietMs = watchdog.resultAt === null ? 0 : Math.max(0, now - watchdog.resultAt);
  const about = {
    quietMs,
    retryInMs: retryAt === null ? null : Math.max(0, retryAt - now),
    bye,
    stalled: watchdog.stalled,
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
