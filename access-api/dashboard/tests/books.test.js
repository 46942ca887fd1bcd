import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columns, findings, minuteRows, NEWEST, partitionRows, stateOf, STATES, verdictText } from '../books.js';
import { createFormat } from '../format.js';

const format = createFormat('en-GB', 'UTC');
const START_MS = Date.UTC(2026, 0, 1, 14);
const results = { events: 8, duplicates: 1, undecodable: 1 };

function audit(fields = {}) {
  return {
    v: 1, stream: 'a1', version: 10, offsets: { 0: 9 }, balanced: true, ingested_ms: START_MS,
    total: { counted: 8, duplicate: 1, undecodable: 1 }, before: { counted: 2 },
    minutes: [{ start_ms: START_MS, counted: 4, undecodable: 1 }, { start_ms: START_MS + 60_000, counted: 2, duplicate: 1 }],
    partitions: { 0: { offsets: 10, counted: 8, duplicate: 1, undecodable: 1, results, balanced: true } }, ...fields,
  };
}

const answered = (fields) => ({ kind: 'audit', audit: audit(fields) });
const verdict = (answer, known = answer.audit ?? null) => verdictText(format, stateOf(answer, known), known, answer.reason ?? null);

test('the verdict says whether the books balance, and whether something was lost', () => {
  assert.equal(verdict(answered()), 'The books balance: what became of each of 10 offsets of the raw topic is known, and none was lost.');
  assert.match(verdict(answered({ total: { counted: 8, gap: 2 } })), /^The books balance, and 2 of 10 offsets of the raw topic were lost/);
  assert.equal(verdict(answered({ balanced: false })), 'The books do not balance.');
  assert.equal(stateOf(answered({ balanced: undefined }), audit({ balanced: undefined })), 'unbalanced', 'what is not said is not so');
});

test('numbers from before are never shown as present ones', () => {
  const states = [[null, null], [{ kind: 'refused', reason: 'not_yet' }, null], [answered(), audit()], [{ kind: 'none' }, audit()], [{ kind: 'refused', reason: 'wait' }, audit()]].map(([answer, known]) => stateOf(answer, known));
  assert.deepEqual(states, ['asking', 'waiting', 'balanced', 'offline', 'offline']);
  assert.ok(states.every((state) => STATES.includes(state)));
  assert.equal(verdict({ kind: 'none' }, audit()), 'The server does not answer; the numbers below are from before.');
  assert.equal(verdict({ kind: 'none' }, null), 'The server does not answer.');
  assert.equal(verdict({ kind: 'refused', reason: 'wait' }, null), 'The server refused: wait.');
});

test('the findings say in which partition, and what differs', () => {
  assert.deepEqual(findings(format, audit()), []);
  const wrong = { offsets: 12, counted: 8, duplicate: 1, undecodable: 1, results: { ...results, events: 9 }, balanced: false };
  assert.deepEqual(findings(format, audit({ balanced: false, partitions: { 0: audit().partitions[0], 3: wrong } })), [
    'Partition 3 was read through 12 offsets, and 10 are in its books.',
    'Partition 3 has 8 events in its books, and 9 in the results.',
  ]);
  assert.match(findings(format, audit({ balanced: false, total: { counted: 8, gap: 2 } }))[0], /^2 offsets were lost/);
  assert.match(findings(format, audit({ total: { counted: 1, control: 5 } }))[0], /^For 5 offsets Kafka gives no record/);
});

test('the rows add up to the total, whichever minutes are shown', () => {
  const minutes = Array.from({ length: NEWEST + 5 }, (_, n) => ({ start_ms: START_MS + n * 60_000, counted: n + 1 }));
  const counted = minutes.reduce((all, minute) => all + minute.counted, 2);
  const many = audit({ minutes, total: { counted } });
  for (const [showAll, shown, hidden] of [[false, NEWEST, 5], [true, NEWEST + 5, 0]]) {
    const table = minuteRows(format, many, showAll, START_MS);
    assert.equal(table.hidden, hidden);
    const [total, ...rows] = table.rows;
    assert.deepEqual([total.id, rows.at(-1).id, rows.length], ['total', 'earlier', shown + 1]);
    total.cells.forEach((cell, at) => assert.equal(rows.reduce((all, row) => all + row.cells[at], 0), cell));
  }
});

test('the newest minute comes first, and its cells are the offsets and what became of them', () => {
  const { rows } = minuteRows(format, audit(), false, START_MS);
  assert.deepEqual(rows.map(({ label }) => label), ['Total', '14:01', '14:00', 'Earlier']);
  assert.deepEqual(rows[1].cells, [3, 2, 1, 0]);
  assert.deepEqual(partitionRows(audit()), [{ id: '0', label: '0', cells: [10, 8, 1, 1], bad: false }]);
});

test('losses and missing records have a column only when there are any', () => {
  const names = (fields) => columns(audit(fields)).map(({ name }) => name);
  assert.deepEqual(names(), ['counted', 'duplicate', 'undecodable']);
  assert.deepEqual(names({ total: { counted: 1, control: 1, gap: 1 } }), ['gap', 'counted', 'duplicate', 'undecodable', 'control']);
});
