//! A broker's process: data threads, store and control side, as the program puts them together.
//!
//! What the program's shell does around its values (`broker/src/reactor`, `broker/src/store`, `broker/src/link`) is done
//! here in the same order, on virtual time. A turn of a data thread has two steps, a turn of a store as well: bytes are
//! read and decided about, then, some time later, the clock is read and answers are written; the store writes to its disk,
//! and when the disk has it says so. A process may be stopped between the two.

pub(crate) mod arrivals;
pub(crate) mod control;
pub(crate) mod letters;
pub(crate) mod process;
pub(crate) mod sockets;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod surroundings;
pub(crate) mod thread;

pub(crate) use process::Shape;
