//! How much may wait for Kafka in the log.
//!
//! At most `log.max_bytes`. If the disk has little room left, whoever has filled it, it is less, so that the log stops growing
//! before the disk is full. If it is full all the same, the log uses the room that it has reserved for itself, and takes
//! nothing in until it has that again.

use std::path::PathBuf;

use common::disk;

/// A log that holds no more is not what fills the disk, and may be written in any case.
const LITTLE_BYTES: u64 = 64 << 20;
/// How much room is made in a full log before messages are taken again, at most.
const MARGIN_BYTES: u64 = 64 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Room {
    /// `log.max_bytes`.
    pub(super) max_bytes: u64,
    /// Where the log is.
    pub(super) path: PathBuf,
    /// How many bytes are to stay free there: as many as opening the log again may write.
    pub(super) spare_bytes: u64,
}

impl Room {
    /// Why no more is taken in while `held` bytes wait, and the log has room reserved for itself or not; `None` if there is
    /// room.
    pub(super) fn lack(&self, held: u64, has_reserve: bool) -> Option<String> {
        if !has_reserve {
            return Some(
                "the disk of the log is full; nothing is taken in until there is room again"
                    .to_owned(),
            );
        }
        if held < self.max_bytes.min(LITTLE_BYTES) {
            return None;
        }
        let limit = self.limit(self.spare_bytes);
        (held >= limit).then(|| {
            let why = if limit == self.max_bytes {
                format!("log.max_bytes are {limit}")
            } else {
                format!(
                    "{limit} may, because the disk has less than {} bytes left",
                    self.spare_bytes
                )
            };
            format!("{held} bytes wait for kafka, and {why}; the sources are read more slowly")
        })
    }

    /// Which part `held` bytes are of what may wait, at most 1.
    pub(super) fn part(&self, held: u64) -> f32 {
        let is_little = held < self.max_bytes.min(LITTLE_BYTES);
        let limit = if is_little { self.max_bytes } else { self.limit(self.spare_bytes) };
        (held as f64 / limit.max(1) as f64).min(1.0) as f32
    }

    /// Whether there is room again, so much that it is not full again at once.
    pub(super) fn is_made(&self, held: u64, has_reserve: bool) -> bool {
        let limit = self.limit(self.spare_bytes.saturating_add(MARGIN_BYTES));
        has_reserve && held <= limit - (limit / 16).min(MARGIN_BYTES)
    }

    /// How many bytes may wait if so many are to stay free.
    fn limit(&self, spare_bytes: u64) -> u64 {
        let is_short = disk::free(&self.path).is_some_and(|free| free < spare_bytes);
        if is_short { self.max_bytes.min(LITTLE_BYTES) } else { self.max_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_may_wait_while_the_disk_is_nearly_full_and_log_max_bytes_otherwise() {
        let room = |max_bytes, spare_bytes| Room { max_bytes, path: "/".into(), spare_bytes };
        let most = |room: Room| {
            let full = (0..200).find(|mib| room.lack(mib << 20, true).is_some())?;
            let why = room.lack(full << 20, true)?;
            let open = (0..=full).rfind(|mib| room.is_made(mib << 20, true))?;
            Some((full, open, why.contains("log.max_bytes"), why.contains("disk")))
        };
        assert_eq!(most(room(100 << 20, 0)), Some((100, 93, true, false)));
        assert_eq!(most(room(100 << 20, u64::MAX)), Some((64, 60, false, true)));
        assert_eq!(most(room(10 << 20, u64::MAX)), Some((10, 9, true, false)));
        assert_eq!(most(room(u64::MAX, 0)), None);
        let without_reserve = room(u64::MAX, 0);
        assert!(without_reserve.lack(0, false).is_some_and(|why| why.contains("full")));
        assert!(!without_reserve.is_made(0, false));
    }
}
