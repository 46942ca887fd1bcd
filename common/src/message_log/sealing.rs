//! What of the database is sealed: all that holds anything of an event or of a feed.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;

use super::cipher::{self, Fault, KeyId};
use super::key::Span;
use super::key_uses::KeyUses;
use super::store::{Batch, OWN, Store};
use super::{Entry, Error, group};

const USES: &str = "keys";
/// The file in the log's directory that is there when all is sealed; RocksDB does not look at it.
pub(super) const MARK: &str = "encrypted";

/// Whether the file says so.
pub(super) fn is_marked(path: &Path) -> bool {
    path.join(MARK).exists()
}

impl Store {
    /// The value as it is stored at this place.
    pub(super) fn sealed<'v>(&self, family: &str, key: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
        match self.keys() {
            Some(keys) => keys.seal(family, key, value).into(),
            None => value.into(),
        }
    }

    /// What was stored at this place; `None` if it is damaged.
    ///
    /// # Errors
    /// When its key is missing, or it is plain in an encrypted log.
    pub(super) fn opened(
        &self,
        family: &str,
        key: &[u8],
        value: Bytes,
    ) -> Result<Option<Bytes>, Error> {
        let is_sealed = cipher::key_of(&value).is_some();
        match self.keys() {
            None if is_sealed => Err(Error::Encrypted { path: self.path().to_owned() }),
            Some(keys) if is_sealed => match keys.open(family, key, &value) {
                Ok(opened) => Ok(Some(opened.into())),
                Err(Fault::Damaged) => Ok(None),
                Err(Fault::OtherKey(id)) => Err(self.key_missing(id)),
            },
            _ if self.has_plain() => Ok(Some(value)),
            // In an encrypted log nothing is taken that is not, but it is not lost either.
            _ if is_plain(family, key, &value) => Err(self.plain()),
            _ => Ok(None),
        }
    }

    /// Whether it is sealed with the key that new values are sealed with.
    pub(super) fn is_sealed_anew(&self, value: &[u8]) -> bool {
        let first = self.keys().map(cipher::Keyring::first);
        first.is_some() && cipher::key_of(value) == first
    }

    /// Which keys the log needs; `None` if it was never encrypted.
    pub(super) fn key_uses(&self) -> Result<Option<KeyUses>, Error> {
        let Some(bytes) = self.own(USES.as_bytes())? else { return Ok(None) };
        KeyUses::decode(&bytes).map(Some).ok_or(Error::Metadata { name: USES })
    }

    pub(super) fn put_key_uses(&self, batch: &mut Batch, uses: &KeyUses) {
        self.put_own(batch, USES.as_bytes(), &uses.encode());
    }

    /// Whether there may be values that are not sealed.
    ///
    /// # Errors
    /// When a key is missing that the log needs, or it is encrypted and has sources that are plain.
    pub(super) fn check_keys(&self) -> Result<bool, Error> {
        let (known, is_marked) = (self.key_uses()?, is_marked(self.path()));
        if known.is_none() && !is_marked {
            return Ok(true);
        }
        let mut uses = known.unwrap_or_default();
        let Some(keys) = self.keys() else {
            return Err(Error::Encrypted { path: self.path().to_owned() });
        };
        // One that is not needed any more may have been removed before that was written.
        uses.forget_before(self.settled()?.low());
        match uses.keys().find(|id| keys.ids().all(|known| known != *id)) {
            Some(id) => Err(self.key_missing(id)),
            None if uses.has_plain && !is_marked => Ok(true),
            None if self.has_plain_sources()? => Err(self.plain()),
            None => Ok(false),
        }
    }

    pub(super) fn plain(&self) -> Error {
        Error::Plain { path: self.path().to_owned() }
    }

    fn key_missing(&self, id: KeyId) -> Error {
        Error::KeyMissing { path: self.path().to_owned(), id }
    }
}

/// Whether a group or an entry is as logs without keys have it.
fn is_plain(family: &str, key: &[u8], value: &Bytes) -> bool {
    match Span::from_key(key) {
        // The log's own values have other keys when they are sealed.
        _ if family == OWN => false,
        Some(span) => group::decode(span, value).is_some(),
        None => Entry::decode(value.clone()).is_some(),
    }
}
