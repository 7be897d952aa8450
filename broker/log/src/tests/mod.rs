//! What the log promises, on a simulated disk and on the real one.

mod any_bytes;
mod bytes;
mod damage;
mod failures;
mod fixture;
mod look;
mod model;
mod mutations;
mod random;
mod reclaim;
mod refused;
mod reopen;
mod simulated;
mod torn;
