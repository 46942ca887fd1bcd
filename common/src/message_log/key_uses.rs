//! Which keys a log needs: the groups that wait may have been sealed with older ones.

use serde::{Deserialize, Serialize};

use super::Sequence;
use super::cipher::KeyId;

/// The keys that groups were sealed with, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyUses {
    /// Whether there may be values that are not sealed yet.
    pub(super) has_plain: bool,
    /// Each key with the first sequence of a group that it may have sealed, as a number.
    uses: Vec<(KeyId, u64)>,
}

impl KeyUses {
    /// Of a log whose groups are sealed with this key.
    pub(super) fn of(key: KeyId) -> Self {
        Self { has_plain: false, uses: vec![(key, 0)] }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "numbers and bytes can always be written")]
        postcard::to_stdvec(self).expect("uses can be written")
    }

    /// The keys, the newest last.
    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = KeyId> {
        self.uses.iter().map(|(key, _)| *key)
    }

    /// Whether there are older keys than the one that is used now.
    pub(super) const fn has_older(&self) -> bool {
        self.uses.len() > 1
    }

    /// From `from` on groups are sealed with this key.
    pub(super) fn begin(&mut self, key: KeyId, from: Sequence) {
        if self.keys().next_back() != Some(key) {
            self.uses.push((key, from.since(Sequence::ZERO)));
        }
    }

    /// Forgets the keys whose groups end before `low`. Returns those that are not needed any more: none while the log is
    /// being taken over, because then each value may still have any of the keys.
    pub(super) fn forget_before(&mut self, low: Sequence) -> Vec<KeyId> {
        if self.has_plain {
            return Vec::new();
        }
        let low = low.since(Sequence::ZERO);
        let ended = self.uses.iter().skip(1).take_while(|(_, next)| *next <= low).count();
        let mut gone: Vec<_> = self.uses.drain(..ended).map(|(key, _)| key).collect();
        gone.retain(|key| self.keys().all(|kept| kept != *key));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::Keyring;
    use super::*;

    #[test]
    fn a_key_is_needed_until_all_groups_before_the_next_one_are_settled() {
        let [a, b] = [1, 2].map(|byte| Keyring::new(&[byte; 32], &[]).first());
        let at = |place| Sequence::ZERO.after(place);
        let mut uses = KeyUses::of(a);
        uses.begin(a, at(5));
        assert!(!uses.has_older());
        uses.begin(b, at(10));
        uses.begin(a, at(20));
        assert_eq!(KeyUses::decode(&uses.encode()), Some(uses.clone()));
        assert_eq!(uses.forget_before(at(9)), []);
        assert_eq!(uses.keys().collect::<Vec<_>>(), [a, b, a]);
        assert_eq!(uses.forget_before(at(10)), [], "it is the newest too");
        assert_eq!(uses.forget_before(at(25)), [b]);
        assert_eq!(uses.keys().collect::<Vec<_>>(), [a]);
        assert_eq!(uses.forget_before(at(99)), [], "the one in use stays");
    }

    #[test]
    fn all_keys_are_needed_while_a_plain_log_is_taken_over() {
        let [a, b] = [1, 2].map(|byte| Keyring::new(&[byte; 32], &[]).first());
        let mut uses = KeyUses { has_plain: true, ..KeyUses::of(a) };
        uses.begin(b, Sequence::ZERO);
        assert_eq!(uses.forget_before(Sequence::ZERO.after(9)), []);
        assert_eq!(uses.keys().collect::<Vec<_>>(), [a, b]);
    }
}
