// Where the server is and what it answers over HTTP. Addresses are relative to the page's own, so that the page works
// below a path too (https://example.org/millrace/).

const ANSWER_TIMEOUT_MS = 8_000;

export function socketUrl(pageUrl) {
  const url = new URL('v1/ws', pageUrl);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

// Asks for the list of queries. The answer is one of
//   { kind: 'list', queries }   the queries that have a result
//   { kind: 'refused', reading }  the server refuses now (503, a cap); `reading`: because it has not read the results to
//                               their end yet
//   { kind: 'none' }            nobody answered in time
export async function askForQueries(pageUrl, fetch = globalThis.fetch) {
  try {
    const response = await fetch(new URL('v1/queries', pageUrl), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    const body = await response.json().catch(() => null);
    if (response.ok && Array.isArray(body?.queries)) return { kind: 'list', queries: body.queries };
    return { kind: 'refused', reading: response.status === 503 && body?.error?.code === 'reading' };
  } catch {
    return { kind: 'none' };
  }
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// Whether the page can show it: it has numbers by name for everything that the page goes through.
function isAudit(body) {
  return isObject(body) && isObject(body.total) && isObject(body.before)
    && Array.isArray(body.minutes) && body.minutes.every(isObject)
    && isObject(body.partitions) && Object.values(body.partitions).every(isObject);
}

// Asks for the audit. The answer is one of
//   { kind: 'audit', audit }
//   { kind: 'refused', reason }  the server's own words, or null; `not_yet` when there is no audit yet
//   { kind: 'none' }             nobody answered in time
export async function askForAudit(pageUrl, fetch = globalThis.fetch) {
  try {
    // `no-cache`: the browser asks with the ETag of what it has, and a day's minutes come only when they have changed.
    const response = await fetch(new URL('v1/audit', pageUrl), { cache: 'no-cache', signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    const body = await response.json().catch(() => null);
    if (response.ok && isAudit(body)) return { kind: 'audit', audit: body };
    if (body?.error?.code === 'no_audit') return { kind: 'refused', reason: 'not_yet' };
    return { kind: 'refused', reason: body?.error?.message ?? null };
  } catch {
    return { kind: 'none' };
  }
}
