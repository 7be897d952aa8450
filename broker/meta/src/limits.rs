//! What the state may grow to. The numbers are fixed, because replicas of different builds must refuse alike; a new one
//! comes with a new level.

use thiserror::Error;

use crate::command::Start;

/// Nodes of a cluster.
pub const NODES_MAX: usize = 256;
/// Shards of a cluster.
pub const SHARDS_MAX: u16 = 64;
/// Retired nodes that are remembered one by one.
pub const TOMBSTONES_MAX: usize = 1024;
/// Addresses of a node.
pub const ADDRESSES_MAX: usize = 8;
/// An address: a DNS name and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// A node's name: that of a pod.
pub const NAME_BYTES_MAX: usize = 253;
/// A zone: the value of a label.
pub const ZONE_BYTES_MAX: usize = 63;

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what}: found {found}, at most {max} are allowed")]
pub struct Bound {
    /// Of what.
    pub what: &'static str,
    /// How many there would be.
    pub found: usize,
    /// How many there may be.
    pub max: usize,
}

impl Bound {
    pub(crate) fn check(what: &'static str, found: usize, max: usize) -> Result<(), Self> {
        if found > max { Err(Self { what, found, max }) } else { Ok(()) }
    }

    /// What a node says of itself.
    pub(crate) fn check_start(start: &Start) -> Result<(), Self> {
        let Start { member: _, nonce: _, name, addresses, zone, level: _ } = start;
        Self::check("bytes of a node's name", name.len(), NAME_BYTES_MAX)?;
        Self::check_place(addresses, zone)
    }

    pub(crate) fn check_place(addresses: &[Box<str>], zone: &str) -> Result<(), Self> {
        Self::check("bytes of a zone", zone.len(), ZONE_BYTES_MAX)?;
        Self::check("addresses of a node", addresses.len(), ADDRESSES_MAX)?;
        let longest = addresses.iter().map(|address| address.len()).max().unwrap_or(0);
        Self::check("bytes of an address", longest, ADDRESS_BYTES_MAX)
    }
}
