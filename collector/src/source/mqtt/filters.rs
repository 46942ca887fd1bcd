//! The filters of a session, as its cursor: those that it may have are known to the next process, which may be configured
//! otherwise. So is whether something came that the session does not keep during an interruption.

use bytes::Bytes;

/// What a filter cannot contain.
const BETWEEN: &str = "\0";

/// As they are stored.
pub(super) fn stored<'a>(filters: impl Iterator<Item = &'a String>, is_lossy: bool) -> Bytes {
    // An empty one, which is no filter, at the end.
    let end = is_lossy.then_some("");
    filters.map(String::as_str).chain(end).collect::<Vec<_>>().join(BETWEEN).into()
}

/// Whether something came that the session does not keep.
pub(super) fn is_lossy(stored: &[u8]) -> bool {
    stored.ends_with(BETWEEN.as_bytes())
}

/// Reads what was stored.
pub(super) fn read(stored: &[u8]) -> Vec<String> {
    let stored = str::from_utf8(stored).unwrap_or_default();
    stored.split(BETWEEN).filter(|filter| !filter.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_they_were_stored() {
        for filters in [vec![], vec!["a/#"], vec!["a/#", "$share/g/b", "+"]] {
            let filters: Vec<_> = filters.into_iter().map(str::to_owned).collect();
            for is_lossy in [false, !filters.is_empty()] {
                let stored = stored(filters.iter(), is_lossy);
                assert_eq!((read(&stored), super::is_lossy(&stored)), (filters.clone(), is_lossy));
            }
        }
        assert_eq!(read(b"\xff"), Vec::<String>::new());
    }
}
