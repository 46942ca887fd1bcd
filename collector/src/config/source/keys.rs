//! Divides the keys of a section among the groups of settings that a kind of source has.
//!
//! A kind is a struct with its own keys, and with a struct for each group that it shares with other kinds, marked
//! `#[serde(flatten, skip_deserializing)]`. Serde's own `flatten` would neither refuse unknown keys nor say which key has the
//! wrong type.

use serde::de::value::Error as NotRead;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use toml::{Table, Value};

/// The keys of a section that no group has taken yet.
pub(super) struct Keys {
    left: Table,
    known: Vec<&'static str>,
}

impl Keys {
    /// All of them.
    pub(super) fn of(section: Table) -> Self {
        Self { left: section, known: Vec::new() }
    }

    /// Takes the keys of one group.
    ///
    /// # Errors
    /// Which of them has a value that does not fit, to be put after the section's name.
    pub(super) fn take<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        let names = names_of::<T>();
        self.known.extend(names);
        let mut own = Table::new();
        for name in names {
            let Some(value) = self.left.remove(*name) else { continue };
            // Each by itself, so that the error can name it. All keys have defaults.
            let alone: Table = [((*name).to_owned(), value.clone())].into_iter().collect();
            if let Err(error) = Value::Table(alone).try_into::<T>() {
                return Err(format!(".{name}: {}", error.message()));
            }
            own.insert((*name).to_owned(), value);
        }
        Value::Table(own).try_into().map_err(|error| format!(": {}", error.message()))
    }

    /// Checks that no key is left.
    ///
    /// # Errors
    /// Which key this kind of source does not have, and which it has, to be put after the section's name.
    pub(super) fn end(mut self, kind: &str) -> Result<(), String> {
        let Some(key) = self.left.keys().next() else { return Ok(()) };
        self.known.sort_unstable();
        let known = self.known.join(", ");
        Err(format!(".{key}: a source of kind \"{kind}\" has no such key; it has kind, {known}"))
    }
}

/// The names of the keys that a struct reads.
fn names_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always an error, because there is nothing to read.
    let _nothing = T::deserialize(Names(&mut names));
    names
}

/// Notes the fields that a struct asks for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = NotRead;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotRead> {
        Err(NotRead::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NotRead> {
        *self.0 = fields;
        Err(NotRead::custom("only its names are wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
