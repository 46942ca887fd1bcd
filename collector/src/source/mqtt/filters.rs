//! The filters of a session, as its cursor: those that it may have are known to the next process, which may be configured
//! otherwise.

use bytes::Bytes;

/// What a filter cannot contain.
const BETWEEN: &str = "\0";

/// As they are stored.
pub(super) fn stored<'a>(filters: impl Iterator<Item = &'a String>) -> Bytes {
    filters.map(String::as_str).collect::<Vec<_>>().join(BETWEEN).into()
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
            assert_eq!(read(&stored(filters.iter())), filters);
        }
        assert_eq!(read(b"\xff"), Vec::<String>::new());
    }
}
