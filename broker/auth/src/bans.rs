//! Who may not connect, whatever the password: client ids, users, addresses and networks, each for ever or until a
//! second.
//!
//! Addresses are compared as what they are: `::ffff:192.0.2.1`, as a socket for both families shows an IPv4 client, is
//! `192.0.2.1`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;

use crate::document::{Node, Section, shorten, text_of};
use crate::error::Findings;

/// All bans of an access file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bans {
    client_ids: HashMap<Box<str>, Until>,
    users: HashMap<Box<str>, Until>,
    networks: HashMap<Network, Until>,
    /// The lengths that occur, so that an address is looked up once for each.
    prefixes: Vec<u8>,
}

/// A ban that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// What of the client is banned.
    pub of: Banned,
    /// From when, in unix seconds, it holds no longer.
    pub until: Until,
}

/// What a ban speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// The client id.
    ClientId,
    /// The user name.
    User,
    /// The address or a network that holds it.
    Address(Network),
}

/// When a ban ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// The first second, in unix time, at which it no longer holds.
    UnixSeconds(u64),
    /// Never.
    Ever,
}

impl Until {
    fn holds(self, now: u64) -> bool {
        self > Until::UnixSeconds(now)
    }
}

impl Bans {
    /// The ban that keeps this client out at `now` (unix seconds), if there is one. Of several the one that lasts the
    /// longest.
    pub fn judge(&self, client_id: &str, user: Option<&str>, address: IpAddr, now: u64) -> Option<Ban> {
        let by_client_id = self.client_ids.get(client_id).map(|until| (Banned::ClientId, *until));
        let by_user = user.and_then(|user| self.users.get(user)).map(|until| (Banned::User, *until));
        let address = address.to_canonical();
        let by_address = self.prefixes.iter().filter_map(|prefix| {
            let network = Network::around(address, *prefix)?;
            Some((Banned::Address(network), *self.networks.get(&network)?))
        });
        let bans = by_client_id.into_iter().chain(by_user).chain(by_address);
        let longest = bans.filter(|(_, until)| until.holds(now)).max_by_key(|(_, until)| *until);
        longest.map(|(of, until)| Ban { of, until })
    }

    /// How many there are, those that have ended included.
    pub fn len(&self) -> usize {
        self.client_ids.len() + self.users.len() + self.networks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An IP network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network with a prefix of this length that holds the address.
    fn around(address: IpAddr, prefix: u8) -> Option<Network> {
        let first = match address {
            IpAddr::V4(address) => {
                let host_bits = 32_u32.checked_sub(u32::from(prefix))?;
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)))
            }
            IpAddr::V6(address) => {
                let host_bits = 128_u32.checked_sub(u32::from(prefix))?;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)))
            }
        };
        Some(Network { first, prefix })
    }

    /// `ADDRESS` or `ADDRESS/LENGTH`, or what would be one.
    fn parse(text: &str) -> Result<Network, String> {
        let wanted = || "an IP address or a network as 203.0.113.0/24".to_owned();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        // A network of mapped addresses would be one of IPv4 in other words: let it be said in those.
        if address != address.to_canonical() {
            return Err(format!("the IPv4 address {}", address.to_canonical()));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wanted())?,
            Some(_) => return Err(wanted()),
        };
        let network = Network::around(address, prefix).ok_or_else(|| format!("a length of at most {bits}"))?;
        if network.first == address { Ok(network) } else { Err(format!("{network}, or one address")) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Network { first, prefix } = self;
        let is_one = *prefix == if first.is_ipv4() { 32 } else { 128 };
        if is_one { write!(formatter, "{first}") } else { write!(formatter, "{first}/{prefix}") }
    }
}

/// One item of `bans`.
pub(crate) fn read_ban(bans: &mut Bans, node: Node, path: &str, findings: &mut Findings) {
    Section::read(node, path, findings, |section, findings| {
        let subjects: Vec<(&str, Node)> = ["clientId", "user", "address"]
            .into_iter()
            .filter_map(|key| section.take(key).map(|node| (key, node)))
            .collect();
        let until = read_until(section, findings);
        let count = subjects.len();
        let (Ok([(key, node)]), Some(until)) = (<[_; 1]>::try_from(subjects), until) else {
            if count != 1 {
                let found = format!("{count} of clientId, user and address");
                findings.refuse(section.line, section.path(), found, "one of them");
            }
            return;
        };
        let path = section.path_of(key);
        let Some((text, line)) = text_of(node, &path, findings) else { return };
        let earlier = match key {
            "clientId" => bans.client_ids.insert(text.as_str().into(), until),
            "user" => bans.users.insert(text.as_str().into(), until),
            _ => match Network::parse(&text) {
                Ok(network) => {
                    if !bans.prefixes.contains(&network.prefix) {
                        bans.prefixes.push(network.prefix);
                    }
                    bans.networks.insert(network, until)
                }
                Err(wanted) => return findings.refuse(line, &path, shorten(&text), wanted),
            },
        };
        if earlier.is_some() {
            findings.refuse(line, &path, format!("{} a second time", shorten(&text)), "it once");
        }
    });
}

/// `None` if it is wrong.
fn read_until(section: &mut Section, findings: &mut Findings) -> Option<Until> {
    let Some(node) = section.take("untilUnixSeconds") else { return Some(Until::Ever) };
    let path = section.path_of("untilUnixSeconds");
    let (text, line) = text_of(node, &path, findings)?;
    match text.parse() {
        Ok(seconds) if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(Until::UnixSeconds(seconds)),
        _ => {
            findings.refuse(line, &path, shorten(&text), "seconds since 1970, as 1800000000");
            None
        }
    }
}
