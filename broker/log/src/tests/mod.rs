//! What the log promises, on a simulated disk and on the real one.

mod fixture;
mod reopen;
