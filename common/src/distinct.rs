//! HyperLogLog: how many different items a stream has, in 16 KiB.
//!
//! Registers as by Flajolet et al. (2007) with 64-bit hashes (Heule et al., 2013); the estimate is
//! Ertl's improved one (*New cardinality estimation algorithms for HyperLogLog sketches*, 2017,
//! section 4), which needs neither bias tables nor a switch of method, and whose relative standard
//! error is [`Distinct::ERROR`] over the whole range. One array of registers whatever the history:
//! equal content is equal bytes.

/// log2 of the number of registers.
const PRECISION: u32 = 14;
const REGISTERS: usize = 1 << PRECISION;
/// Rank of a hash whose remaining bits are all zero.
const MAX_RANK: u8 = (64 - PRECISION + 1) as u8;

/// A sketch of a set of hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    registers: Box<[u8]>,
}

impl Distinct {
    /// Relative standard error of the estimate: 1.04 / √2^14.
    pub const ERROR: f64 = 1.04 / 128.0;

    /// The empty set.
    pub fn new() -> Self {
        Self { registers: vec![0; REGISTERS].into_boxed_slice() }
    }

    /// Adds an item by its hash.
    pub fn insert(&mut self, hash: u64) {
        let register = &mut self.registers[(hash >> (64 - PRECISION)) as usize];
        let rank = ((hash << PRECISION).leading_zeros() as u8 + 1).min(MAX_RANK);
        *register = rank.max(*register);
    }

    /// Becomes the union of both sets.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// About how many different hashes were inserted.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0_u32; MAX_RANK as usize + 1];
        for &rank in &self.registers {
            histogram[usize::from(rank)] += 1;
        }
        let m = REGISTERS as f64;
        let mut z = m * tau(1.0 - f64::from(histogram[usize::from(MAX_RANK)]) / m);
        for &registers in histogram[1..usize::from(MAX_RANK)].iter().rev() {
            z = 0.5 * (z + f64::from(registers));
        }
        z += m * sigma(f64::from(histogram[0]) / m);
        // Infinitely many for an exhausted sketch: saturates.
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }

    /// The registers, one byte each.
    pub fn as_bytes(&self) -> &[u8] {
        &self.registers
    }

    /// From [`as_bytes`](Self::as_bytes); `None` if those are not registers.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let valid = bytes.len() == REGISTERS && bytes.iter().all(|&rank| rank <= MAX_RANK);
        valid.then(|| Self { registers: bytes.into() })
    }
}

impl Default for Distinct {
    fn default() -> Self {
        Self::new()
    }
}

/// x + Σ x^(2^k) 2^(k−1): the share of empty registers (Ertl, algorithm 6).
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3: the share of saturated registers (likewise).
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
