//! Seals with the first key what another one has sealed, or none: when keys are rotated, and when a plain log is taken over.

use super::Error;
use super::key_uses::KeyUses;
use super::store::{Batch, Family, Store};
use super::{Ranges, Sequence};

/// So many bytes are written at once.
const BATCH_BYTES: usize = 1 << 20;

/// Begins to use the first key, if another one was used before: from `from` on for groups, and for all other values at once, which
/// may stay for long.
pub(super) fn rotate(store: &Store, from: Sequence, settled: &Ranges) -> Result<(), Error> {
    let Some(keys) = store.keys() else { return Ok(()) };
    // A repair may have lost it.
    let known = store.key_uses()?.unwrap_or_default();
    let mut uses = known.clone();
    uses.begin(keys.first(), from);
    if uses != known {
        tracing::info!(key = %keys.first(), "what comes into the message log is encrypted with a new key");
        write(store, &uses)?;
    }
    if uses.has_older() {
        for family in Family::ALL {
            reseal(store, family.name())?;
        }
        reseal_sources(store)?;
        forget(&mut uses, settled.low(), |uses| write(store, uses))?;
    }
    Ok(())
}

/// Forgets the keys that are not needed any more, and says so when that is written.
pub(super) fn forget(
    uses: &mut KeyUses,
    low: Sequence,
    write: impl FnOnce(&KeyUses) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left = uses.clone();
    let gone = left.forget_before(low);
    if left != *uses {
        write(&left)?;
        *uses = left;
    }
    for key in gone {
        tracing::info!(%key, "the message log does not need this key any more; its line may be removed from log.key_file");
    }
    Ok(())
}

/// Reseals the values of a family.
pub(super) fn reseal(store: &Store, family: &'static str) -> Result<(), Error> {
    let mut batch = Batch::default();
    for item in store.stored(family) {
        let (key, value) = item?;
        if store.is_sealed_anew(&value) {
            continue;
        }
        // What is damaged stays so.
        let Some(value) = store.opened(family, &key, value)? else { continue };
        store.put_in(&mut batch, family, &key, &value);
        if batch.bytes() >= BATCH_BYTES {
            store.write(std::mem::take(&mut batch), false)?;
        }
    }
    store.write(batch, true)
}

/// Reseals where sources resume.
pub(super) fn reseal_sources(store: &Store) -> Result<(), Error> {
    let mut batch = Batch::default();
    store.reseal_sources(&mut batch)?;
    store.write(batch, true)
}

fn write(store: &Store, uses: &KeyUses) -> Result<(), Error> {
    let mut batch = Batch::default();
    store.put_key_uses(&mut batch, uses);
    store.write(batch, true)
}
