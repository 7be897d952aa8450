//! Whether clients may be told what was decided: only while the lease of this node holds, by a clock that is read now.
//!
//! Bytes are read, what they mean is decided, then the clock is read, then the answers are written. A process may be
//! stopped between any two of these: whoever compared the lease with the time at which the turn began would acknowledge
//! with a lease that was over long ago. What is written when a clock has been read once may go at any time after: when it
//! was decided this node was in the view, and what it promises had been done.

use std::fmt;
use std::sync::Arc;

use fulmar_meta::Moment;
use fulmar_worker::Node;

use crate::boot_clock;

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Lease {
    node: Arc<Node>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.node).finish()
    }
}

impl Lease {
    /// Of a node of a durable cluster; none: nobody needs a lease.
    pub(crate) fn of(node: &Arc<Node>) -> Option<Lease> {
        node.settings.views.then(|| Lease::new(node.clone(), boot_clock::now))
    }

    pub(super) fn new(node: Arc<Node>, clock: impl Fn() -> Moment + Send + Sync + 'static) -> Lease {
        Lease { node, clock: Arc::new(clock) }
    }

    /// Reads the clock.
    pub(super) fn holds(&self) -> bool {
        self.node.may_acknowledge((self.clock)())
    }
}
