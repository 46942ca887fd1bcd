//! Where sources resume, and which feeds they were. In an encrypted log these values have keys of their own, because a plain
//! cursor may be any bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Error;
use super::store::{Batch, OWN, Store};

const CURSOR: &str = "cursor";
const FEED: &str = "feed";
/// What the key of a sealed value begins with.
const SEALED: &str = "sealed-";

impl Store {
    pub(super) fn put_cursor(&self, batch: &mut Batch, source: &str, cursor: &[u8]) {
        self.put_of_source(batch, CURSOR, source, cursor);
    }

    pub(super) fn cursor(&self, source: &str) -> Result<Option<Bytes>, Error> {
        self.of_source(CURSOR, source)
    }

    /// The cursors by source.
    pub(super) fn cursors(&self) -> Result<BTreeMap<String, Bytes>, Error> {
        let mut cursors = BTreeMap::new();
        // A log that has plain ones is not opened, unless it may have.
        for (prefix, is_sealed) in [(plain(CURSOR, ""), false), (sealed(CURSOR, ""), true)] {
            for item in self.own_values(prefix.as_bytes()) {
                let (key, value) = item?;
                let damaged = || Error::Metadata { name: CURSOR };
                let source = key.strip_prefix(prefix.as_bytes()).unwrap_or_default();
                let source = str::from_utf8(source).map_err(|_| damaged())?;
                let value = if is_sealed {
                    self.opened(OWN, &key, value)?.ok_or_else(damaged)?
                } else {
                    value
                };
                cursors.insert(source.to_owned(), value);
            }
        }
        Ok(cursors)
    }

    pub(super) fn put_feed(&self, batch: &mut Batch, source: &str, feed: &str) {
        self.put_of_source(batch, FEED, source, feed.as_bytes());
    }

    /// The feed that the source's cursor belongs to; empty if it is not known.
    pub(super) fn feed(&self, source: &str) -> Result<String, Error> {
        let bytes = self.of_source(FEED, source)?.unwrap_or_default();
        String::from_utf8(bytes.into()).map_err(|_| Error::Metadata { name: FEED })
    }

    fn put_of_source(&self, batch: &mut Batch, kind: &str, source: &str, value: &[u8]) {
        let key = if self.keys().is_some() { sealed(kind, source) } else { plain(kind, source) };
        self.put_own(batch, key.as_bytes(), &self.sealed(OWN, key.as_bytes(), value));
    }

    fn of_source(&self, kind: &'static str, source: &str) -> Result<Option<Bytes>, Error> {
        let key = sealed(kind, source);
        if let Some(value) = self.own(key.as_bytes())? {
            let opened = self.opened(OWN, key.as_bytes(), value)?;
            return opened.map(Some).ok_or(Error::Metadata { name: kind });
        }
        if self.has_plain() { self.own(plain(kind, source).as_bytes()) } else { Ok(None) }
    }

    /// Whether there are values that are not sealed. Each log that was used has some for its sources.
    pub(super) fn has_plain_sources(&self) -> Result<bool, Error> {
        for kind in [CURSOR, FEED] {
            if self.own_values(plain(kind, "").as_bytes()).next().transpose()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Seals what is not sealed with the first key: see [`reseal`](super::reseal).
    pub(super) fn reseal_sources(&self, batch: &mut Batch) -> Result<(), Error> {
        for kind in [CURSOR, FEED] {
            for item in self.own_values(plain(kind, "").as_bytes()) {
                let (key, value) = item?;
                let new = [SEALED.as_bytes(), &key].concat();
                if self.own(&new)?.is_none() {
                    self.put_own(batch, &new, &self.sealed(OWN, &new, &value));
                }
                self.delete_own(batch, &key);
            }
            for item in self.own_values(sealed(kind, "").as_bytes()) {
                let (key, value) = item?;
                if self.is_sealed_anew(&value) {
                    continue;
                }
                let value = self.opened(OWN, &key, value)?;
                let value = value.ok_or(Error::Metadata { name: kind })?;
                self.put_own(batch, &key, &self.sealed(OWN, &key, &value));
            }
        }
        Ok(())
    }
}

fn plain(kind: &str, source: &str) -> String {
    format!("{kind}:{source}")
}

fn sealed(kind: &str, source: &str) -> String {
    format!("{SEALED}{kind}:{source}")
}
