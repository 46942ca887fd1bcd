//! Encryption of what the log stores: AES-256-GCM, with a key of its own for each value.
//!
//! | bytes of a sealed value | |
//! |---|---|
//! | 1 | 0x80, which is the format byte of nothing else |
//! | 8 | the [id](KeyId) of the key |
//! | 4 | CRC32C of those, little-endian: another key is told apart from damage |
//! | 24 | random |
//! | as many as the value has | ciphertext |
//! | 16 | tag |
//!
//! The key of a value is HKDF-SHA256 of the key in the key file and the value's 192 random bits, which are the kernel's. So each
//! AES key encrypts one value, and its nonce may be zero. Nothing is counted or remembered, and nothing repeats after a crash or
//! when an older copy of the volume is restored: two values share a key when their 192 bits are the same, which after 2⁶⁴ values
//! has the probability 2⁻⁶⁵. Only a snapshot of a machine's memory that is resumed twice may repeat them, until its kernel has new
//! randomness. A nonce of 96 random bits under one key would be safe for 2³² values only.
//!
//! What precedes the ciphertext, and the family and the key in the database, are authenticated with it: a value in another
//! place is as one that is damaged.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 0x80;
const ID_BYTES: usize = 8;
/// The format, the id, and their checksum.
const HEAD_BYTES: usize = 1 + ID_BYTES + 4;
const RANDOM_BYTES: usize = 24;
/// Where the ciphertext begins.
const TEXT: usize = HEAD_BYTES + RANDOM_BYTES;
/// How many bytes a key has.
pub(super) const KEY_BYTES: usize = 32;

/// Says which key it is, and nothing of the key: 64 bits that are derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId([u8; ID_BYTES]);

/// The keys of a key file. New values are sealed with the first one; each opens what was sealed with it.
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

struct Key {
    id: KeyId,
    secret: Prk,
}

/// Why a value cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was sealed with a key that is not there.
    OtherKey(KeyId),
    /// It is not what was sealed for this place.
    Damaged,
}

/// The key that a value was sealed with; `None` if it is no sealed value.
pub(super) fn key_of(value: &[u8]) -> Option<KeyId> {
    let (head, _) = value.split_first_chunk::<HEAD_BYTES>()?;
    let (&FORMAT, rest) = head.split_first()? else { return None };
    let id = KeyId(*rest.first_chunk()?);
    (*head == id.head()).then_some(id)
}

impl Keyring {
    pub(super) fn new(first: &[u8; KEY_BYTES], others: &[&[u8; KEY_BYTES]]) -> Self {
        Self { first: Key::new(first), others: others.iter().map(|key| Key::new(key)).collect() }
    }

    /// The key that new values are sealed with.
    pub fn first(&self) -> KeyId {
        self.first.id
    }

    /// All keys, the first one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys().map(|key| key.id)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Seals a value for the place `key` of `family`.
    pub(super) fn seal(&self, family: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
        let tag_bytes = AES_256_GCM.tag_len();
        let mut sealed = Vec::with_capacity(TEXT + value.len() + tag_bytes);
        sealed.extend(self.first.id.head());
        let mut random = [0; RANDOM_BYTES];
        #[expect(
            clippy::expect_used,
            reason = "the kernel has random numbers as soon as the machine has started; without them nothing must be written"
        )]
        SystemRandom::new().fill(&mut random).expect("the kernel has random numbers");
        sealed.extend(random);
        let place = place(&sealed, family, key);
        sealed.extend_from_slice(value);
        let own = self.first.of_value(&random);
        #[expect(clippy::expect_used, reason = "no value is near the limit of AES-GCM, 64 GiB")]
        let tag = own
            .seal_in_place_separate_tag(nonce(), Aad::from(place), &mut sealed[TEXT..])
            .expect("a value is shorter than 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was [sealed](Self::seal) for this place.
    pub(super) fn open(&self, family: &str, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let id = key_of(sealed).ok_or(Fault::Damaged)?;
        let known = self.keys().find(|key| key.id == id).ok_or(Fault::OtherKey(id))?;
        let (head, text) = sealed.split_at_checked(TEXT).ok_or(Fault::Damaged)?;
        let random = head.last_chunk().ok_or(Fault::Damaged)?;
        let place = place(head, family, key);
        let mut text = text.to_vec();
        let opened = known.of_value(random).open_in_place(nonce(), Aad::from(place), &mut text);
        let length = opened.map_err(|_| Fault::Damaged)?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl Key {
    #[expect(clippy::expect_used, reason = "HKDF gives as many bytes as its hash has")]
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"millrace message log").extract(key);
        let mut id = [0; 32];
        let derived =
            secret.expand(&[b"id"], HKDF_SHA256).and_then(|derived| derived.fill(&mut id));
        derived.expect("32 bytes can be derived");
        let [a, b, c, d, e, f, g, h, ..] = id;
        Self { id: KeyId([a, b, c, d, e, f, g, h]), secret }
    }

    /// The key of the value that has these random bits.
    #[expect(clippy::expect_used, reason = "HKDF gives as many bytes as its hash has")]
    fn of_value(&self, random: &[u8; RANDOM_BYTES]) -> LessSafeKey {
        let info: [&[u8]; 2] = [b"value", random];
        let derived = self.secret.expand(&info, &AES_256_GCM).expect("32 bytes can be derived");
        LessSafeKey::new(UnboundKey::from(derived))
    }
}

impl KeyId {
    /// What a value begins with that was sealed with this key.
    fn head(self) -> [u8; HEAD_BYTES] {
        let mut head = [FORMAT; HEAD_BYTES];
        head[1..=ID_BYTES].copy_from_slice(&self.0);
        let sum = crc32c::crc32c(&head[..=ID_BYTES]);
        head[1 + ID_BYTES..].copy_from_slice(&sum.to_le_bytes());
        head
    }
}

/// Each key encrypts one value.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// What is authenticated with the ciphertext. The name of a family has no zero.
fn place(head: &[u8], family: &str, key: &[u8]) -> Vec<u8> {
    [head, family.as_bytes(), &[0], key].concat()
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl Eq for Keyring {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(first: u8, others: &[u8]) -> Keyring {
        let others: Vec<_> = others.iter().map(|&byte| [byte; KEY_BYTES]).collect();
        Keyring::new(&[first; KEY_BYTES], &others.iter().collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn a_value_is_opened_as_it_was_sealed_and_no_flipped_bit_goes_unnoticed(
            value in prop::collection::vec(any::<u8>(), 0..80), key in prop::collection::vec(any::<u8>(), 0..20),
            bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        ) {
            let keys = ring(1, &[]);
            let sealed = keys.seal("failed", &key, &value);
            prop_assert_eq!(keys.open("failed", &key, &sealed), Ok(value.clone()));
            prop_assert_eq!(key_of(&sealed), Some(keys.first()));
            let bit = bit.index(8 * sealed.len());
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(keys.open("failed", &key, &damaged), Err(Fault::Damaged));
            let cut = cut.index(sealed.len());
            prop_assert_eq!(keys.open("failed", &key, &sealed[..cut]), Err(Fault::Damaged));
            if value.len() > 4 {
                prop_assert!(!sealed.windows(value.len()).any(|part| part == value));
            }
        }
    }

    #[test]
    fn a_value_is_opened_in_its_own_place_only() {
        let keys = ring(1, &[]);
        let sealed = keys.seal("failed", b"7", b"value");
        for (family, key) in
            [("failed", &b"8"[..]), ("deferred", b"7"), ("faile", b"d7"), ("failed", b"")]
        {
            assert_eq!(keys.open(family, key, &sealed), Err(Fault::Damaged), "{family} {key:?}");
        }
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let keys = ring(1, &[]);
        let (one, other) =
            (keys.seal("failed", b"7", b"value"), keys.seal("failed", b"7", b"value"));
        assert_ne!(one[HEAD_BYTES..TEXT], other[HEAD_BYTES..TEXT]);
        assert_ne!(one[TEXT..], other[TEXT..]);
    }

    #[test]
    fn another_key_is_no_damage_and_an_older_key_still_opens() {
        let (old, new, both) = (ring(1, &[]), ring(2, &[]), ring(2, &[1]));
        let sealed = old.seal("failed", b"7", b"value");
        assert_eq!(new.open("failed", b"7", &sealed), Err(Fault::OtherKey(old.first())));
        assert_eq!(both.open("failed", b"7", &sealed), Ok(b"value".to_vec()));
        let sealed = both.seal("failed", b"7", b"value");
        assert_eq!(key_of(&sealed), Some(new.first()));
        assert_eq!(old.open("failed", b"7", &sealed), Err(Fault::OtherKey(new.first())));
        let shown = format!("{both:?} {both:#?} {:?}", both.first());
        assert!(shown.contains(&new.first().to_string()) && !shown.contains("Prk"), "{shown}");
    }

    #[test]
    fn a_value_of_a_known_key_stays_readable() {
        // Whoever changes the format must go on reading this one.
        let sealed = "808a1e584b8c6afd67c65327f5000102030405060708090a0b0c0d0e0f10111213141516175e03e95562b28f4b97d487dee18981a6c3\
             bd1503c9";
        let sealed: Vec<u8> = (0..sealed.len() / 2)
            .map(|at| u8::from_str_radix(&sealed[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(ring(1, &[]).open("failed", b"7", &sealed), Ok(b"value".to_vec()));
    }
}
