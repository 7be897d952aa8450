//! Which passwords have been verified already, so that clients that come back need not wait for a slow hash.
//!
//! An entry is a keyed hash (HMAC-SHA256) of the user, the stored hash and the password. Three things follow: memory
//! holds no password; a lookup takes the same time for a right and a wrong one, because where it looks depends on a key
//! that nobody outside knows; and a user whose stored hash has changed is not found, so a new password file needs no
//! clean-up. The key is random and lives as long as the process.
//!
//! A cached password costs a guesser a microsecond instead of milliseconds. [`crate::backoff`] comes before it.

use std::{fmt, mem};

use hashbrown::HashSet;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::passwords::Hash;

/// A user's name, stored hash and password as one keyed hash. Says nothing without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Makes fingerprints. Give it 32 random bytes.
#[derive(Clone)]
pub struct FingerprintKey(Hmac<Sha256>);

/// A key is never shown.
impl fmt::Debug for FingerprintKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FingerprintKey").finish_non_exhaustive()
    }
}

impl FingerprintKey {
    /// From random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
    }

    /// The fingerprint of a user who gives this password where `stored` is on file. About a microsecond, of which no
    /// lock need know.
    pub fn of(&self, user: &str, stored: &Hash, password: &[u8]) -> Fingerprint {
        let mut mac = self.0.clone();
        let (cost, [salt, digest]) = stored.parts();
        for number in cost {
            mac.update(&number.to_le_bytes());
        }
        for part in [user.as_bytes(), salt, digest, password] {
            // With its length, so that no two lists of parts are the same bytes.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Fingerprint(mac.finalize().into_bytes().into())
    }
}

/// The passwords that were verified last. Of a million entries it needs about 70 MB.
pub struct Verified {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
    generation_max: usize,
}

impl Verified {
    /// Room for `entries_max` passwords; the half that was used last is always kept.
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), generation_max: (entries_max / 2).max(1) }
    }

    /// Whether this has been verified. An entry that is used stays longer.
    pub fn holds(&mut self, fingerprint: &Fingerprint) -> bool {
        if self.young.contains(fingerprint) {
            return true;
        }
        let is_old = self.old.remove(fingerprint);
        if is_old {
            self.insert(*fingerprint);
        }
        is_old
    }

    /// Remembers what has been verified just now.
    pub fn insert(&mut self, fingerprint: Fingerprint) {
        if self.young.len() >= self.generation_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::{Argon2idParams, hash_password};

    fn stored(password: &[u8], salt: u8) -> Hash {
        let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
        Hash::parse(&hash_password(password, params, &[salt; 16]).unwrap()).unwrap()
    }

    fn numbered(number: u32) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn only_the_same_user_hash_and_password_are_found_again() {
        let key = FingerprintKey::new([7; 32]);
        let (hash, changed) = (stored(b"s3cret", 1), stored(b"s3cret", 2));
        let mut verified = Verified::new(10);
        verified.insert(key.of("alice", &hash, b"s3cret"));
        assert!(verified.holds(&key.of("alice", &hash, b"s3cret")));
        for other in [
            key.of("alice", &hash, b"s3creT"),
            key.of("bob", &hash, b"s3cret"),
            key.of("alice", &changed, b"s3cret"),
            FingerprintKey::new([8; 32]).of("alice", &hash, b"s3cret"),
        ] {
            assert!(!verified.holds(&other));
        }
    }

    #[test]
    fn a_password_that_was_changed_under_the_same_salt_is_no_longer_found() {
        let key = FingerprintKey::new([7; 32]);
        let (before, after) = (stored(b"s3cret", 1), stored(b"an0ther", 1));
        assert!(key.of("alice", &before, b"s3cret") != key.of("alice", &after, b"s3cret"));
    }

    #[test]
    fn bytes_cannot_wander_from_one_part_to_the_next() {
        let key = FingerprintKey::new([7; 32]);
        let one = Hash::parse(&format!("$6$AAAA${}==", "A".repeat(86))).unwrap();
        let other = Hash::parse(&format!("$6$AAAAAA==${}==", "A".repeat(86))).unwrap();
        // Salt, hash and password are the same bytes in a row: 3 + 64 + 1 and 4 + 64 + 0 zeros.
        assert!(key.of("alice", &one, b"\0") != key.of("alice", &other, b""));
    }

    #[test]
    fn a_hash_of_the_same_bytes_but_other_cost_is_another_hash() {
        let key = FingerprintKey::new([7; 32]);
        let tail = format!("AAAA${}==", "A".repeat(86));
        let hashes = [format!("$6${tail}"), format!("$7$1${tail}"), format!("$7$2${tail}")];
        let of = |text: &String| key.of("alice", &Hash::parse(text).unwrap(), b"s3cret");
        let fingerprints: HashSet<Fingerprint> = hashes.iter().map(of).collect();
        assert_eq!(fingerprints.len(), 3);
    }

    #[test]
    fn the_limit_is_reached_and_the_half_used_last_is_kept() {
        let mut verified = Verified::new(100);
        for number in 0..1000 {
            verified.insert(numbered(number));
            assert!(verified.len() <= 100);
            for recent in number.saturating_sub(49)..=number {
                assert!(verified.young.contains(&numbered(recent)) || verified.old.contains(&numbered(recent)));
            }
        }
        assert!(!verified.holds(&numbered(0)));
    }

    #[test]
    fn an_entry_that_is_used_stays() {
        let mut verified = Verified::new(100);
        verified.insert(numbered(5000));
        for number in 0..1000 {
            verified.insert(numbered(number));
            assert!(verified.holds(&numbered(5000)), "after {number} others");
        }
    }
}
