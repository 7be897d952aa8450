//! Waiting for what must come, for as long as the patience of the harness around this lasts.

use std::time::{Duration, Instant};

use super::PATIENCE;

/// Looks again and again until `look` finds what it wants, and says what is missing when it never comes.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
