//! What is computed for a name that is not in the file, so that the time of an answer does not tell who is.
//!
//! In a file of several kinds of hashes one decoy for all would stand out among the users of the other kinds. So each
//! unknown name gets the cost of one of the users, always the same as long as the file is: the kinds come as often
//! among unknown names as among known ones. Which it is, only who has read the file can tell.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::hint::black_box;

use super::hash::{Cost, Hash, Scratch};

/// The longest digest that any hash has.
const DIGEST_BYTES_MAX: usize = 64;
const SALT: [u8; 16] = [0; 16];

pub(super) struct Decoys {
    /// Each cost with the number of users that have it or stand before it.
    costs: Vec<(Cost, u64)>,
    /// Of the file's text, which holds salts and hashes that nobody else knows.
    key: [u8; 32],
}

impl Decoys {
    pub(super) fn new<'a>(text: &str, hashes: impl Iterator<Item = &'a Hash>) -> Self {
        let mut counts: BTreeMap<Cost, u64> = BTreeMap::new();
        for hash in hashes {
            *counts.entry(hash.cost).or_default() += 1;
        }
        let mut total = 0;
        let add = |(cost, count)| {
            total += count;
            (cost, total)
        };
        Self { costs: counts.into_iter().map(add).collect(), key: Sha256::digest(text.as_bytes()).into() }
    }

    /// Does the work that verifying this name's password would be.
    pub(super) fn spend(&self, name: &str, password: &[u8], scratch: &mut Scratch) {
        if let Some(cost) = self.cost_of(name) {
            let mut digest = [0; DIGEST_BYTES_MAX];
            black_box(cost.fill(password, &SALT, &mut digest, scratch));
            black_box(digest);
        }
    }

    fn cost_of(&self, name: &str) -> Option<Cost> {
        let (_, total) = self.costs.last()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(name.as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let (number, _) = digest.split_first_chunk().expect("32 bytes are more than 8");
        let user = u64::from_le_bytes(*number) % total;
        let at = self.costs.partition_point(|(_, until)| *until <= user);
        Some(self.costs[at].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::Argon2idParams;

    const SALT_AND_DIGEST: &str =
        "AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

    fn decoys(text: &str, hashes: &[String]) -> Decoys {
        let hashes: Vec<Hash> = hashes.iter().map(|hash| Hash::parse(hash).unwrap()).collect();
        Decoys::new(text, hashes.iter())
    }

    #[test]
    fn unknown_names_cost_what_users_cost_in_the_same_shares() {
        let mut hashes = vec![format!("$7$101${SALT_AND_DIGEST}"); 3];
        hashes.push(format!("$6${SALT_AND_DIGEST}"));
        let decoys = decoys("a text", &hashes);
        let count = |cost| (0..4000).filter(|i| decoys.cost_of(&format!("nobody-{i}")) == Some(cost)).count();
        let (slow, quick) = (count(Cost::Pbkdf2 { iterations: 101 }), count(Cost::Sha512));
        assert_eq!(slow + quick, 4000);
        assert!((2800..3200).contains(&slow), "{slow} of 4000, wanted about 3 in 4");
    }

    #[test]
    fn a_name_keeps_its_cost_until_the_file_changes() {
        let hashes = [format!("$7$101${SALT_AND_DIGEST}"), format!("$6${SALT_AND_DIGEST}")];
        let costs = |text| {
            let decoys = decoys(text, &hashes);
            (0..64).map(|i| decoys.cost_of(&format!("nobody-{i}"))).collect::<Vec<_>>()
        };
        assert_eq!(costs("a text"), costs("a text"));
        assert_ne!(costs("a text"), costs("another text"));
    }

    #[test]
    fn every_cost_can_be_spent_on_a_decoy() {
        let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
        for cost in [Cost::Argon2id(params), Cost::Pbkdf2 { iterations: 2 }, Cost::Sha512] {
            assert!(cost.fill(b"secret", &SALT, &mut [0; DIGEST_BYTES_MAX], &mut Scratch::default()));
        }
    }

    #[test]
    fn a_file_without_users_has_nothing_to_hide() {
        assert_eq!(decoys("", &[]).cost_of("anyone"), None);
    }
}
