//! Keeps what a disk would hold after a loss of power, beside the data folder of a broker under test.
//!
//! A kill does not test fsync: what a process wrote is read back by the next one, synced or not. This library is loaded
//! into the unchanged broker before its C library (`LD_PRELOAD`) and stands between the two: of everything under one
//! folder it copies into another one what the broker has *synced*, and nothing else (`mirror`). The next broker that is
//! started with the two begins with that copy in place of its folder: with what a loss of power right after the last
//! sync would have left.
//!
//! The two folders are the variables `FULMAR_RECORDER_FROM` and `FULMAR_RECORDER_TO` of the environment; without them
//! every call goes to the kernel as it came. What `mirror` does not see written (there are more ways to write than the broker uses) is missing from
//! the copy, so that a gap in here fails tests and never lets them pass.

// The tests of the mirror themselves are not to be recorded.
#[cfg(not(test))]
mod calls;
mod mirror;
