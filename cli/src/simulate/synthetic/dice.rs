//! Random choices that are a pure function of the seed and the place where they are made: SplitMix64 (Steele, Lea,
//! Flood, OOPSLA 2014), seeded for every line, so that any line can be generated without those before it. It is
//! written here so that the bytes of a seed do not depend on the version of another crate.

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Dice {
    /// The sequence for `place` in `stream`.
    pub(super) const fn new(seed: u64, stream: u64, place: u64) -> Self {
        Self(mix(mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN)) ^ place))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next() >> 11) as f64 * UNIT
    }

    /// Uniform in `[0, bound)`; `bound` must not be 0.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.index(choices.len())]
    }

    /// Uniform in `[0, len)`.
    pub(super) fn index(&mut self, len: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below `len`")]
        let index = self.below(len as u64) as usize;
        index
    }

    /// An index into `cumulated` (ascending sums of weights), by weight.
    pub(super) fn weighted(&mut self, cumulated: &[f64]) -> usize {
        let point = self.unit() * cumulated.last().copied().unwrap_or_default();
        cumulated.partition_point(|&sum| sum <= point).min(cumulated.len() - 1)
    }
}

const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
