// How long to wait before the next attempt to connect. Pure.

const BASE_MS = 600;
const CAP_MS = 15_000;
const FLOOR_MS = 250;

// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015), with a lower bound so that the page does not connect in a
// busy loop to a server that refuses at once. `random` is from [0, 1); `atLeastMs` is `retry_ms` of the server's `bye`.
export function retryAfterMs(failedAttempts, random, atLeastMs = 0) {
  const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(failedAttempts, 10));
  return Math.max(atLeastMs, Math.round(FLOOR_MS + random * (ceiling - FLOOR_MS)));
}
