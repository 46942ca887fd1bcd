// The recent past: ranks for the arrows, versions for the rate. Pure; time is an argument.
// Guarantees: memory is bounded by the horizons below, whatever the stream does.

export const RANK_HORIZON_MS = 60_000;
export const RATE_HORIZON_MS = 180_000;
const SAMPLE_EVERY_MS = 1_000;
const RATE_OVER_MS = 10_000;

// The rankings of the last minute, one a second. Movement is relative to the oldest one that is kept.
export function createRankHistory() {
  const pictures = []; // { at, ranks: Map item -> rank }

  return {
    record(items, now) {
      const newest = pictures.at(-1);
      if (newest && now - newest.at < SAMPLE_EVERY_MS) return;
      pictures.push({ at: now, ranks: new Map(items.map((item, index) => [item, index + 1])) });
      while (pictures.length > 1 && pictures[1].at <= now - RANK_HORIZON_MS) pictures.shift();
    },
    // Ranks gained (positive) or lost, 'new' if the item was not ranked then, 0 if no earlier ranking is known.
    movement(item, rank) {
      const then = pictures[0]?.ranks;
      if (!then || then.size === 0) return 0;
      const before = then.get(item);
      return before === undefined ? 'new' : before - rank;
    },
    clear() {
      pictures.length = 0;
    },
  };
}

// Records read per second, from the growth of `version` (the number of records read so far, re-deliveries included).
export function createRateHistory() {
  const samples = []; // { at, version }

  return {
    record(version, now) {
      const newest = samples.at(-1);
      if (newest && version < newest.version) samples.length = 0; // a lower version belongs to another log
      else if (newest && now - newest.at < SAMPLE_EVERY_MS * 0.9) return;
      samples.push({ at: now, version });
      while (samples.length > 2 && samples[1].at < now - RATE_HORIZON_MS) samples.shift();
    },
    // The mean over the last ten seconds; null while there are fewer than two samples.
    current() {
      const newest = samples.at(-1);
      if (samples.length < 2) return null;
      let oldest = samples[0];
      for (const sample of samples) {
        if (sample.at < newest.at - RATE_OVER_MS) oldest = sample;
      }
      return ((newest.version - oldest.version) * 1000) / (newest.at - oldest.at);
    },
    // One point per sample: { age (ms before the newest sample), perSecond }.
    points() {
      const newest = samples.at(-1);
      return samples.slice(1).map((sample, index) => {
        const before = samples[index];
        const perSecond = ((sample.version - before.version) * 1000) / (sample.at - before.at);
        return { age: newest.at - sample.at, perSecond };
      });
    },
    clear() {
      samples.length = 0;
    },
  };
}
