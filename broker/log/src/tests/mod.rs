//! What the log promises, on a simulated disk and on the real one.

mod fixture;
mod model;
mod mutations;
mod random;
mod reopen;
