//! How much may wait for Kafka in the log.
//!
//! At most `log.max_bytes`. If the disk has little room left, whoever has filled it, it is less: a log on a full disk could
//! neither forget what Kafka has nor be opened again, so it stops growing before.

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
    /// Why no more is taken in while `held` bytes wait; `None` if there is room.
    pub(super) fn lack(&self, held: u64) -> Option<String> {
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

    /// Whether there is room again, so much that it is not full again at once.
    pub(super) fn is_made(&self, held: u64) -> bool {
        let limit = self.limit(self.spare_bytes.saturating_add(MARGIN_BYTES));
        held <= limit - (limit / 16).min(MARGIN_BYTES)
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
            let full = (0..200).find(|mib| room.lack(mib << 20).is_some())?;
            let why = room.lack(full << 20)?;
            let open = (0..=full).rfind(|mib| room.is_made(mib << 20))?;
            Some((full, open, why.contains("log.max_bytes"), why.contains("disk")))
        };
        assert_eq!(most(room(100 << 20, 0)), Some((100, 93, true, false)));
        assert_eq!(most(room(100 << 20, u64::MAX)), Some((64, 60, false, true)));
        assert_eq!(most(room(10 << 20, u64::MAX)), Some((10, 9, true, false)));
        assert_eq!(most(room(u64::MAX, 0)), None);
    }
}
