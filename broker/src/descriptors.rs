//! The file-descriptor limit: raised as far as it goes, and compared with the connections that shall be served.

use fulmar_config::Source;

/// What the process needs beside client connections: listeners, links, probes, epoll instances, files.
pub(crate) const RESERVE: u64 = 256;

/// How many client connections the descriptors allow, given what the configuration wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// As many as configured.
    Enough,
    /// Fewer than the default; nobody asked for a number.
    Lowered(u32),
}

/// The file-descriptor limit is too low for the connections that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found a file-descriptor limit of {limit}, wanted at least {wanted} for limits.connections {connections} and a \
     reserve of {RESERVE} (raise it with ulimit -n or LimitNOFILE=, or lower limits.connections)"
)]
pub(crate) struct TooFewDescriptors {
    limit: u64,
    wanted: u64,
    connections: u32,
}

/// Compares the descriptor limit with the connections wanted. A number that somebody chose is never lowered silently.
pub(crate) fn check(limit: u64, connections: u32, source: &Source) -> Result<Connections, TooFewDescriptors> {
    let wanted = u64::from(connections) + RESERVE;
    if limit >= wanted {
        return Ok(Connections::Enough);
    }
    match (source, limit.checked_sub(RESERVE)) {
        (Source::Default, Some(room @ 1..)) => Ok(Connections::Lowered(u32::try_from(room).unwrap_or(connections))),
        _ => Err(TooFewDescriptors { limit, wanted, connections }),
    }
}

/// Raises the soft limit to the hard one and returns it.
pub(crate) fn raise() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit during the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` is a valid rlimit during the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
        return Ok(limit.rlim_cur);
    }
    Ok(limit.rlim_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_lowered_and_a_chosen_number_is_refused() {
        let chosen = Source::Flag("--set limits.connections".into());
        assert_eq!(check(1_000_000, 1000, &chosen), Ok(Connections::Enough));
        assert_eq!(check(1256, 1000, &chosen), Ok(Connections::Enough));
        assert_eq!(check(1255, 1000, &Source::Default), Ok(Connections::Lowered(999)));
        let refused = TooFewDescriptors { limit: 1255, wanted: 1256, connections: 1000 };
        assert_eq!(check(1255, 1000, &chosen), Err(refused));
        assert!(check(RESERVE, 1000, &Source::Default).is_err());
        assert!(check(0, 1000, &Source::Default).is_err());
    }

    #[test]
    fn raising_twice_changes_nothing_more() {
        assert_eq!(raise().unwrap(), raise().unwrap());
    }
}
