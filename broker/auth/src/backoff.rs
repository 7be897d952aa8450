//! Who guesses passwords has to wait, twice as long after each failure.
//!
//! Failures are counted for each pair of address and user, and for each address by itself, so that neither one
//! password after the other nor one user after the other can be tried quickly. Use it only where addresses are those of
//! clients: behind a load balancer that hides them, a guesser would make everyone wait. It is asked before
//! [`crate::verified`] and before any slow hash.
//!
//! Memory is bounded, and filling it does not help a guesser to be forgotten: what is thrown out is the entry with the
//! fewest failures, the oldest of these. To throw out an entry with n failures he must have every other entry at n or
//! more; each of these costs n failures, and an address of his has only [`Settings::address_free_failures`] before it
//! waits itself. An IPv6 network of 64 bits, which one customer has, counts as one address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sha2::{Digest, Sha256};

/// How patient we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The failures of one user from one address before the first wait.
    pub user_free_failures: u32,
    /// The failures from one address before the first wait.
    pub address_free_failures: u32,
    /// The first wait; it doubles with each further failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// So long after the last failure all is forgotten. No shorter than the longest wait.
    pub forget_after: Duration,
    /// The most entries, of about 200 bytes each.
    pub entries_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_free_failures: 5,
            address_free_failures: 50,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            forget_after: Duration::from_secs(3600),
            entries_max: 100_000,
        }
    }
}

/// The failures of late.
#[derive(Debug)]
pub struct Backoff {
    settings: Settings,
    entries: HashMap<Key, Entry>,
    /// The lightest first: the next to be thrown out.
    by_weight: BTreeSet<(u32, Instant, Key)>,
    /// The oldest first: the next to be forgotten.
    by_age: BTreeSet<(Instant, Key)>,
    evicted: u64,
}

/// Small and of one size, however long a user name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    address: IpAddr,
    /// A hash of the user name; `None` is the address by itself.
    user: Option<[u8; 16]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    last_failed: Instant,
    next_try: Instant,
}

impl Backoff {
    /// Nobody has failed yet.
    pub fn new(settings: Settings) -> Self {
        let (by_weight, by_age) = (BTreeSet::new(), BTreeSet::new());
        Self { settings, entries: HashMap::new(), by_weight, by_age, evicted: 0 }
    }

    /// Whether this user may be tried from this address now, or how long it has to wait. Who has waited gets one try:
    /// until that has succeeded, the next one waits as if it had failed, so that a hundred connections at once are not a
    /// hundred tries.
    pub fn may_try(&mut self, address: IpAddr, user: &str, now: Instant) -> Result<(), Duration> {
        let keys = keys(address, user);
        let entry = |key: &Key| self.entries.get(key).filter(|entry| !self.is_forgotten(entry, now));
        let wait = keys.iter().filter_map(entry).map(|entry| entry.next_try.saturating_duration_since(now)).max();
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        for key in keys {
            let settings = self.settings;
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.next_try = now + settings.wait(&key, entry.failures);
            }
        }
        Ok(())
    }

    /// The password was wrong, or there is no such user.
    pub fn failed(&mut self, address: IpAddr, user: &str, now: Instant) {
        self.forget(now);
        for key in keys(address, user) {
            let failures = self.remove(&key).map_or(0, |entry| entry.failures).saturating_add(1);
            while self.entries.len() >= self.settings.entries_max.max(1) {
                let Some((_, _, lightest)) = self.by_weight.first().copied() else { break };
                self.remove(&lightest);
                self.evicted += 1;
            }
            let next_try = now + self.settings.wait(&key, failures);
            self.by_weight.insert((failures, now, key));
            self.by_age.insert((now, key));
            self.entries.insert(key, Entry { failures, last_failed: now, next_try });
        }
    }

    /// The password was right. The user's failures from there are forgotten; those of the address are not, or who has
    /// one password could guess others for ever.
    pub fn succeeded(&mut self, address: IpAddr, user: &str) {
        let [pair, address] = keys(address, user);
        self.remove(&pair);
        // The try that was right is no reason to wait, or clients of one address would come in one after the other. Who
        // has a password may so have tries for several users under way at once; when they fail, each of them counts.
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.next_try = entry.last_failed + self.settings.wait(&address, entry.failures);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody has failed of late.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries had to go before their time.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn is_forgotten(&self, entry: &Entry, now: Instant) -> bool {
        now.saturating_duration_since(entry.last_failed) >= self.settings.forget_after
    }

    fn forget(&mut self, now: Instant) {
        while let Some((last_failed, key)) = self.by_age.first().copied() {
            if now.saturating_duration_since(last_failed) < self.settings.forget_after {
                break;
            }
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_weight.remove(&(entry.failures, entry.last_failed, *key));
        self.by_age.remove(&(entry.last_failed, *key));
        Some(entry)
    }
}

impl Settings {
    /// How long to wait after so many failures.
    fn wait(&self, key: &Key, failures: u32) -> Duration {
        let free = if key.user.is_some() { self.user_free_failures } else { self.address_free_failures };
        match failures.checked_sub(free.max(1)) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.initial.saturating_mul(factor).min(self.max)
            }
        }
    }
}

/// The pair, and the address by itself.
/// What counts as one address: a network of 64 bits of IPv6, which one customer has, and each address of IPv4.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

fn keys(address: IpAddr, user: &str) -> [Key; 2] {
    let address = network_of(address);
    let digest: [u8; 32] = Sha256::digest(user.as_bytes()).into();
    let (user, _) = digest.split_first_chunk().expect("32 bytes are more than 16");
    [Key { address, user: Some(*user) }, Key { address, user: None }]
}
