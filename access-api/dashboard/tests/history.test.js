import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRankHistory, createRateHistory, RANK_HORIZON_MS, RATE_HORIZON_MS } from '../history.js';

test('movement is against the ranks of a minute ago', () => {
  const ranks = createRankHistory();
  ranks.record(['a', 'b', 'c'], 0);
  ranks.record(['b', 'a', 'c'], 30_000);
  ranks.record(['c', 'b', 'a'], RANK_HORIZON_MS);
  assert.equal(ranks.movement('c', 1), 2);
  assert.equal(ranks.movement('a', 3), -2);
  assert.equal(ranks.movement('b', 2), 0);
  assert.equal(ranks.movement('d', 4), 'new');
  ranks.record(['c', 'b', 'a'], RANK_HORIZON_MS + 30_000);
  assert.equal(ranks.movement('a', 3), -1);
});

test('before anything was ranked nothing is new', () => {
  const ranks = createRankHistory();
  assert.equal(ranks.movement('a', 1), 0);
  ranks.record([], 0);
  assert.equal(ranks.movement('a', 1), 0);
});

test('ten results a second leave one picture a second, and none older than the horizon but one', () => {
  const ranks = createRankHistory();
  ranks.record(['a', 'b'], 0);
  for (let now = 100; now <= 10 * RANK_HORIZON_MS; now += 100) ranks.record(['b', 'a'], now);
  assert.equal(ranks.movement('a', 2), 0);
});

test('the rate is what was read in the last ten seconds', () => {
  const rates = createRateHistory();
  assert.equal(rates.current(), null);
  for (let second = 0; second <= 60; second += 1) rates.record(second < 30 ? second * 100 : 3_000 + (second - 30) * 2, second * 1_000);
  assert.ok(Math.abs(rates.current() - 2) < 0.5, String(rates.current()));
  assert.equal(rates.points()[0].perSecond, 100);
  assert.equal(rates.points().at(-1).age, 0);
});

test('an outage shows as the mean over it, not as a peak', () => {
  const rates = createRateHistory();
  rates.record(0, 0);
  rates.record(600, 60_000);
  assert.deepEqual(rates.points(), [{ age: 0, perSecond: 10 }]);
});

test('a lower version is another log and starts over', () => {
  const rates = createRateHistory();
  rates.record(1_000, 0);
  rates.record(1_100, 1_000);
  rates.record(5, 2_000);
  assert.equal(rates.current(), null);
  assert.deepEqual(rates.points(), []);
});

test('a day of samples is kept no longer than the horizon', () => {
  const rates = createRateHistory();
  for (let second = 0; second < 86_400; second += 1) rates.record(second, second * 1_000);
  assert.ok(rates.points().length <= RATE_HORIZON_MS / 1_000 + 2, String(rates.points().length));
});
