import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryAfterMs } from '../retry.js';

test('the wait grows to a cap, is jittered, and never drops below the floor', () => {
  assert.equal(retryAfterMs(0, 0), 250);
  assert.equal(retryAfterMs(0, 1), 600);
  assert.equal(retryAfterMs(50, 1), 15_000);
  assert.equal(retryAfterMs(50, 0), 250);
});

test('what the server asked for is the least', () => {
  assert.equal(retryAfterMs(0, 1, 4_000), 4_000);
  assert.equal(retryAfterMs(50, 1, 4_000), 15_000);
});
