import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFormat } from '../format.js';
import { itemText } from '../item.js';

const format = createFormat('en-GB', 'UTC');

test('durations take one unit', () => {
  const cases = [[0, '0 ms'], [-3, '0 ms'], [999, '999 ms'], [1_000, '1.0 s'], [9_990, '9.9 s'], [59_999, '59 s'], [60_000, '1 min'], [7_200_000, '2 h'], [259_200_000, '3 days']];
  for (const [ms, text] of cases) assert.equal(format.duration(ms), text);
});

test('a chosen span keeps whole units', () => {
  const cases = [[1_800_000, '30 minutes'], [3_600_000, 'hour'], [5_000, '5 seconds'], [90_000, '90 seconds'], [1_500, '1,500 ms'], [86_400_000, 'day']];
  for (const [ms, text] of cases) assert.equal(format.span(ms), text);
});

test('windows are told in words', () => {
  assert.equal(format.windowText({ kind: 'running' }), 'Running total since the start');
  assert.equal(format.windowText({ kind: 'sliding', size_ms: 1_800_000, slide_ms: 5_000 }), 'Last 30 minutes, every 5 seconds');
});

test('a recording of another day names its day', () => {
  const then = Date.UTC(2015, 2, 8, 4, 26, 42);
  assert.equal(format.clock(then, then + 1_000), '04:26:42');
  assert.equal(format.clock(then, Date.UTC(2026, 0, 1)), '8 Mar 2015, 04:26:42');
  assert.equal(format.minute(then, then + 1_000), '04:26');
  assert.equal(format.minute(then, Date.UTC(2026, 0, 1)), '8 Mar 2015, 04:26');
});

test('small rates keep a digit', () => {
  assert.equal(format.rate(0), '0');
  assert.equal(format.rate(1.34), '1.3');
  assert.equal(format.rate(1_234.5), '1,235');
});

test('an item that cannot be seen is named, any other is left as it is', () => {
  for (const item of ['\u200b\u200b', '\u115f', '\u1160\uffa0', ' \t\n', '\u202e', '\u0000']) assert.deepEqual(itemText(item), { text: '(invisible text)', named: true });
  assert.deepEqual(itemText(''), { text: '(empty text)', named: true });
  for (const item of ['<b>x</b>', 'עברית', '👩‍👩‍👧', 'x\u202e']) assert.deepEqual(itemText(item), { text: item, named: false });
});
