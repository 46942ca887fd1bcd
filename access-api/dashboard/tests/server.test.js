import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askForAudit, askForQueries, socketUrl } from '../server.js';

const answering = (status, body) => async () => new Response(body, { status });
const PAGE = 'http://here/';

test('the socket is beside the page, at the root and below a path, with the page’s own security', () => {
  assert.equal(socketUrl('http://here:8080/'), 'ws://here:8080/v1/ws');
  assert.equal(socketUrl('http://here/#q=topics&n=10'), 'ws://here/v1/ws');
  assert.equal(socketUrl('https://example.org/stats/millrace/?theme=x'), 'wss://example.org/stats/millrace/v1/ws');
});

test('the list is asked for beside the page', async () => {
  let asked;
  await askForQueries('https://example.org/stats/', async (url) => {
    asked = String(url);
    return new Response('{"queries":[]}');
  });
  assert.equal(asked, 'https://example.org/stats/v1/queries');
});

test('a list, a refusal and no answer at all are told apart', async () => {
  assert.deepEqual(await askForQueries(PAGE, answering(200, '{"queries":[{"name":"topics"}]}')), { kind: 'list', queries: [{ name: 'topics' }] });
  assert.deepEqual(await askForQueries(PAGE, answering(503, '{"error":{"code":"too_many_connections"}}')), { kind: 'refused', reading: false });
  assert.deepEqual(await askForQueries(PAGE, answering(503, '{"error":{"code":"reading"}}')), { kind: 'refused', reading: true });
  assert.deepEqual(await askForQueries(PAGE, answering(502, '<html>')), { kind: 'refused', reading: false });
  assert.deepEqual(await askForQueries(PAGE, async () => { throw new TypeError('refused'); }), { kind: 'none' });
});

test('an answer that is not what was asked for is no list', async () => {
  assert.deepEqual(await askForQueries(PAGE, answering(200, 'hello')), { kind: 'refused', reading: false });
  assert.deepEqual(await askForQueries(PAGE, answering(200, 'null')), { kind: 'refused', reading: false });
});

const AUDIT = { total: {}, before: {}, minutes: [], partitions: {} };

test('an answer that the page could not show is no audit', async () => {
  const wrong = [null, [], {}, { ...AUDIT, minutes: {} }, { ...AUDIT, minutes: [null] }, { ...AUDIT, partitions: { 0: null } }];
  for (const field of Object.keys(AUDIT)) wrong.push({ ...AUDIT, [field]: undefined }, { ...AUDIT, [field]: null });
  for (const body of wrong) {
    assert.deepEqual(await askForAudit(PAGE, answering(200, JSON.stringify(body))), { kind: 'refused', reason: null }, JSON.stringify(body));
  }
  assert.equal((await askForAudit(PAGE, answering(200, JSON.stringify(AUDIT)))).kind, 'audit');
});

test('an audit, none yet, a refusal and no answer are told apart', async () => {
  let asked;
  const audit = { ...AUDIT, minutes: [{ start_ms: 0, counted: 1 }] };
  const answer = await askForAudit('https://example.org/stats/audit.html', async (url) => {
    asked = String(url);
    return new Response(JSON.stringify(audit));
  });
  assert.equal(asked, 'https://example.org/stats/v1/audit');
  assert.deepEqual(answer, { kind: 'audit', audit });
  assert.deepEqual(await askForAudit(PAGE, answering(404, '{"error":{"code":"no_audit"}}')), { kind: 'refused', reason: 'not_yet' });
  assert.deepEqual(await askForAudit(PAGE, answering(503, '{"error":{"code":"reading","message":"wait"}}')), { kind: 'refused', reason: 'wait' });
  assert.deepEqual(await askForAudit(PAGE, async () => { throw new TypeError('refused'); }), { kind: 'none' });
});
