//! Bans: whom they keep out and for how long.

use std::net::IpAddr;

use fulmar_auth::bans::{Ban, Banned, Bans};
use fulmar_auth::{AccessFile, AccessLimits};
use proptest::prelude::*;

fn bans(items: &str) -> Bans {
    AccessFile::parse(&format!("bans:\n{items}"), AccessLimits::default()).expect("the file is right").bans
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

fn describe(ban: Option<Ban>) -> String {
    ban.map_or("none".to_owned(), |Ban { of, until }| match of {
        Banned::ClientId => format!("client id {until:?}"),
        Banned::User => format!("user {until:?}"),
        Banned::Address(network) => format!("{network} {until:?}"),
    })
}

const ITEMS: &str = "
- clientId: meter-13
- {user: mallory, untilUnixSeconds: 1000}
- {address: 203.0.113.0/24, untilUnixSeconds: 2000}
- address: 203.0.113.7
- address: 2001:db8::/32
- {address: 0.0.0.0/0, untilUnixSeconds: 10}
";

#[test]
fn a_ban_holds_for_its_subject_until_its_second() {
    let bans = bans(ITEMS);
    assert_eq!(bans.len(), 6);
    for (client_id, user, from, now, expected) in [
        ("meter-13", None, "192.0.2.1", 5000, "client id Ever"),
        ("meter-1", None, "192.0.2.1", 5000, "none"),
        ("mallory", None, "192.0.2.1", 500, "none"),
        ("meter-1", Some("meter-13"), "192.0.2.1", 500, "none"),
        ("meter-1", Some("mallory"), "192.0.2.1", 999, "user UnixSeconds(1000)"),
        ("meter-1", Some("mallory"), "192.0.2.1", 1000, "none"),
        ("meter-1", None, "203.0.113.8", 1999, "203.0.113.0/24 UnixSeconds(2000)"),
        ("meter-1", None, "203.0.113.8", 2000, "none"),
        ("meter-1", None, "203.0.113.7", 1999, "203.0.113.7 Ever"),
        ("meter-1", None, "203.0.114.7", 1999, "none"),
        ("meter-1", None, "2001:db8:1::1", 1999, "2001:db8::/32 Ever"),
        ("meter-1", None, "2001:db9::1", 1999, "none"),
        ("meter-1", None, "192.0.2.1", 9, "0.0.0.0/0 UnixSeconds(10)"),
        // A network of all IPv4 holds no IPv6.
        ("meter-1", None, "2001:db9::1", 9, "none"),
        // Of several bans the one that lasts the longest is told.
        ("meter-1", Some("mallory"), "203.0.113.8", 500, "203.0.113.0/24 UnixSeconds(2000)"),
    ] {
        let found = describe(bans.judge(client_id, user, address(from), now));
        assert_eq!(found, expected, "{client_id} {user:?} {from} {now}");
    }
}

#[test]
fn an_ipv4_client_on_a_socket_of_both_families_is_banned_like_any_other() {
    let bans = bans(ITEMS);
    assert_eq!(describe(bans.judge("m", None, address("::ffff:203.0.113.7"), 5000)), "203.0.113.7 Ever");
    assert_eq!(
        describe(bans.judge("m", None, address("::ffff:203.0.113.9"), 1999)),
        "203.0.113.0/24 UnixSeconds(2000)"
    );
}

proptest! {
    #[test]
    fn a_network_holds_the_addresses_with_its_prefix(bits: u32, other: u32, prefix in 0_u8..=32) {
        let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
        let first = IpAddr::from(std::net::Ipv4Addr::from_bits(bits & mask));
        let bans = bans(&format!("- address: {first}/{prefix}\n"));
        // One address that shares many bits with the network and one that need not.
        for bits in [other, (bits & mask) | (other & !mask), bits ^ 1] {
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(bits));
            let is_in = IpAddr::from(std::net::Ipv4Addr::from_bits(bits & mask)) == first;
            prop_assert_eq!(bans.judge("", None, from, 0).is_some(), is_in);
        }
    }
}
