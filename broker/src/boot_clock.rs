//! The clock of leases: the time since the machine started, sleep included.

use std::time::Duration;

use fulmar_meta::Moment;

/// Reads it.
pub(crate) fn now() -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the struct that it is given, and to nothing else.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "every Linux since 2.6.39 has this clock");
    Moment(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let first = now();
        while now() == first {}
        assert!(now() > first && first > Moment::default());
    }
}
