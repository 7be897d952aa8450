//! Back-off: who waits how long, who does not, and that filling the memory frees nobody.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use fulmar_auth::backoff::{Backoff, Settings};
use proptest::prelude::*;

const SETTINGS: Settings = Settings {
    user_free_failures: 3,
    address_free_failures: 10,
    initial: Duration::from_secs(1),
    max: Duration::from_secs(60),
    forget_after: Duration::from_secs(600),
    entries_max: 100,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(last: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + last))
}

#[test]
fn the_wait_doubles_after_the_free_failures_up_to_the_longest() {
    let (mut backoff, mut now) = (Backoff::new(SETTINGS), Instant::now());
    let one = address(1);
    let mut waits = Vec::new();
    // From the tenth on, the address waits by itself, but never longer than the pair.
    for _ in 0..12 {
        assert_eq!(backoff.may_try(one, "alice", now), Ok(()));
        backoff.failed(one, "alice", now);
        let wait = backoff.may_try(one, "alice", now).err().unwrap_or_default();
        waits.push(wait.as_secs());
        now += wait;
    }
    assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
}

#[test]
fn others_do_not_wait_until_the_address_has_failed_too_often() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    for _ in 0..9 {
        backoff.failed(address(1), "alice", now);
    }
    assert!(backoff.may_try(address(1), "alice", now).is_err());
    assert_eq!(backoff.may_try(address(2), "alice", now), Ok(()));
    assert_eq!(backoff.may_try(address(1), "bob", now), Ok(()));
    // The tenth user tried from there, or the tenth failure, is enough for the whole address.
    backoff.failed(address(1), "carol", now);
    assert_eq!(backoff.may_try(address(1), "bob", now), Err(seconds(1)));
    assert_eq!(backoff.may_try(address(2), "bob", now), Ok(()));
}

#[test]
fn a_success_forgives_the_user_but_not_the_address() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    for _ in 0..9 {
        backoff.failed(address(1), "alice", now);
    }
    backoff.succeeded(address(1), "alice");
    assert_eq!(backoff.may_try(address(1), "alice", now), Ok(()));
    // Who has a password of his own guesses another between his successes: no use.
    backoff.succeeded(address(1), "alice");
    backoff.failed(address(1), "bob", now);
    assert_eq!(backoff.may_try(address(1), "bob", now), Err(seconds(1)));
    backoff.succeeded(address(1), "alice");
    assert_eq!(backoff.may_try(address(1), "bob", now), Err(seconds(1)));
}

#[test]
fn many_connections_at_once_are_one_try() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    for _ in 0..4 {
        backoff.failed(address(1), "alice", now);
    }
    let later = now + seconds(2);
    let allowed = (0..100).filter(|_| backoff.may_try(address(1), "alice", later).is_ok()).count();
    assert_eq!(allowed, 1);
    // Had it been right, nobody would wait any longer.
    backoff.succeeded(address(1), "alice");
    assert_eq!(backoff.may_try(address(1), "alice", later), Ok(()));
}

#[test]
fn clients_that_succeed_at_the_end_of_an_addresss_wait_do_not_hold_up_each_other() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    for number in 0..10 {
        backoff.failed(address(1), &format!("user-{number}"), now);
    }
    let later = now + seconds(1);
    for number in 20..40 {
        let user = format!("user-{number}");
        assert_eq!(backoff.may_try(address(1), &user, later), Ok(()));
        backoff.succeeded(address(1), &user);
    }
}

#[test]
fn failures_are_forgotten_after_their_time() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    for _ in 0..9 {
        backoff.failed(address(1), "alice", now);
    }
    let almost = now + seconds(599);
    backoff.failed(address(2), "alice", almost);
    assert_eq!(backoff.len(), 4);
    let after = now + seconds(600);
    assert_eq!(backoff.may_try(address(1), "alice", after), Ok(()));
    backoff.failed(address(2), "bob", after);
    assert_eq!(backoff.len(), 3);
    backoff.failed(address(1), "alice", after);
    assert_eq!(backoff.may_try(address(1), "alice", after), Ok(()), "the count begins anew");
}

#[test]
fn a_guesser_is_not_forgotten_when_he_fills_the_memory() {
    let (mut backoff, mut now) = (Backoff::new(SETTINGS), Instant::now());
    for _ in 0..9 {
        backoff.failed(address(0), "alice", now);
    }
    for number in 1..10_000 {
        now += Duration::from_millis(1);
        backoff.failed(address(number), &format!("user-{number}"), now);
        assert!(backoff.len() <= SETTINGS.entries_max);
    }
    assert!(backoff.may_try(address(0), "alice", now).is_err());
    assert_eq!(backoff.len(), SETTINGS.entries_max);
    assert_eq!(backoff.evicted(), 2 * 10_000 - 100);
}

#[test]
fn an_ipv6_customer_is_one_address_and_so_is_an_ipv4_client_on_either_socket() {
    let (mut backoff, now) = (Backoff::new(SETTINGS), Instant::now());
    let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
    for number in 0..10 {
        backoff.failed(parse(&format!("2001:db8::{number}")), &format!("user-{number}"), now);
        backoff.failed(parse(&format!("::ffff:10.0.0.{number}")), "alice", now);
    }
    assert!(backoff.may_try(parse("2001:db8::ffff:0:0:1"), "someone", now).is_err());
    assert_eq!(backoff.may_try(parse("2001:db8:0:1::1"), "someone", now), Ok(()));
    for _ in 0..3 {
        backoff.failed(parse("10.0.0.99"), "alice", now);
    }
    assert!(backoff.may_try(parse("::ffff:10.0.0.99"), "alice", now).is_err());
}

proptest! {
    /// Whatever happens, entries stay within their bound, and nobody waits longer than the longest wait.
    #[test]
    fn bounds_hold(
        steps in prop::collection::vec((0_u8..3, 0_u32..4, 0_u8..4, 0_u64..200), 0..300),
        entries_max in 0_usize..8,
    ) {
        let mut backoff = Backoff::new(Settings { entries_max, ..SETTINGS });
        let mut now = Instant::now();
        for (kind, from, user, passed) in steps {
            now += seconds(passed);
            let user = format!("user-{user}");
            match kind {
                0 => backoff.failed(address(from), &user, now),
                1 => backoff.succeeded(address(from), &user),
                _ => {
                    let wait = backoff.may_try(address(from), &user, now).err().unwrap_or_default();
                    prop_assert!(wait <= SETTINGS.max);
                    prop_assert_eq!(backoff.may_try(address(from), &user, now + SETTINGS.max), Ok(()));
                }
            }
            prop_assert!(backoff.len() <= entries_max.max(1));
        }
    }
}
