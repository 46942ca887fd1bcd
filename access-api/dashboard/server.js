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
