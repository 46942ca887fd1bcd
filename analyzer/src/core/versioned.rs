//! The envelope of values that are stored in Kafka or sent through it: a version byte, then the value.
//!
//! A value is MessagePack with the names of its fields. A new field has a default, and a reader ignores fields
//! that it does not know, so that adding or removing a field needs no new version. The version is raised when a
//! field changes its meaning. The version before is then still read; older and newer ones are refused.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// One kind of value, and the versions of it that are read.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What the kind is called in an error.
    what: &'static str,
    /// The version that is written.
    newest: u8,
    /// The oldest version that is read: the newest or the one before it.
    oldest: u8,
}

/// Why a value cannot be read. Reading it again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was written by a version of the analyzer that is too old or too new.
    #[error("{what} has version {found}, and this analyzer reads {oldest} to {newest}")]
    Version {
        /// The kind of value.
        what: &'static str,
        /// The version that was found.
        found: u32,
        /// The oldest version that is read.
        oldest: u8,
        /// The newest version that is read.
        newest: u8,
    },
    /// It is truncated or altered.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// The kind of value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Format {
    /// A kind of value that is written as version `newest`, and read from version `oldest` on. The two may differ
    /// by one at most.
    pub const fn new(what: &'static str, oldest: u8, newest: u8) -> Self {
        assert!(oldest <= newest && newest - oldest <= 1, "this version and the one before");
        Self { what, newest, oldest }
    }

    /// The version that is written.
    pub const fn version(&self) -> u8 {
        self.newest
    }

    /// Whether this version is read.
    ///
    /// # Errors
    /// [`Error::Version`] when it is not.
    pub fn accept(&self, found: u32) -> Result<(), Error> {
        let Self { what, newest, oldest } = *self;
        if (u32::from(oldest)..=u32::from(newest)).contains(&found) {
            Ok(())
        } else {
            Err(Error::Version { what, found, oldest, newest })
        }
    }

    /// The bytes to store for a value.
    pub fn encode(&self, value: &impl Serialize) -> Vec<u8> {
        let mut bytes = vec![self.newest];
        #[expect(
            clippy::expect_used,
            reason = "plain data is written to memory, which cannot fail"
        )]
        rmp_serde::encode::write_named(&mut bytes, value).expect("a Vec accepts any bytes");
        bytes
    }

    /// Reads the bytes that [`encode`](Self::encode) returned.
    ///
    /// # Errors
    /// [`Error::Version`] and [`Error::Damaged`].
    pub fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, Error> {
        let body = self.open(bytes)?;
        rmp_serde::from_slice(body).map_err(|error| self.damaged(error.to_string()))
    }

    /// The version byte followed by `body`, for a value that is not MessagePack.
    pub fn seal(&self, body: impl IntoIterator<Item = u8>) -> Vec<u8> {
        std::iter::once(self.newest).chain(body).collect()
    }

    /// What follows the version byte.
    ///
    /// # Errors
    /// [`Error::Version`], and [`Error::Damaged`] when there is no version byte.
    pub fn open<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], Error> {
        let (&version, body) =
            bytes.split_first().ok_or_else(|| self.damaged("it is empty".to_owned()))?;
        self.accept(version.into())?;
        Ok(body)
    }

    /// The error of a damaged value of this kind.
    pub fn damaged(&self, why: String) -> Error {
        Error::Damaged { what: self.what, why }
    }
}
