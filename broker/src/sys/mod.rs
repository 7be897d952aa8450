//! `$SYS`: what the broker tells its own clients of itself, under topics that every subscriber may read like others.
//!
//! The figures are those of `/metrics`, of all data threads together. They are gathered on the control side, kept for
//! those who subscribe later, and passed to a data thread only if somebody has subscribed already.

mod load;
mod topics;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fulmar_session::Message;
use fulmar_worker::Node;

use self::topics::{Figures, Topics};
use crate::metrics::{ThreadReport, resident_bytes};
use crate::reactor::{Inbox, Letter};

/// What is asked for the figures.
pub(crate) struct Sources {
    pub(crate) node: Arc<Node>,
    pub(crate) reports: Vec<Arc<ThreadReport>>,
    pub(crate) start: Instant,
}

/// Tells every `interval`, beginning now, until the control side ends. `inbox` is that of any data thread.
pub(crate) async fn run(interval: Duration, sources: Sources, inbox: Arc<Inbox>) {
    let mut ticks = tokio::time::interval(interval);
    let mut topics = Topics::default();
    let mut last: Weak<[Message]> = Weak::<[Message; 0]>::new();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let values = topics.of(&sources.figures(now));
        let changed = sources.node.set_sys(values.iter().map(|(topic, value)| (topic.as_str(), value.as_str())), now);
        // A thread that did not take the last letter yet gets no second one; what it says is kept in any case.
        if !changed.is_empty() && last.strong_count() == 0 {
            let changed: Arc<[Message]> = changed.into();
            last = Arc::downgrade(&changed);
            inbox.push(Letter::Tell(changed));
        }
    }
}

impl Sources {
    fn figures(&self, now: Instant) -> Figures {
        let Sources { node, reports, start } = self;
        let (resident_bytes, resident_bytes_max) = resident_bytes();
        let mut figures = Figures {
            retained: node.retained_counts(),
            clients_max: node.clients_max() as u64,
            resident_bytes,
            resident_bytes_max,
            uptime: now.saturating_duration_since(*start),
            ..Figures::default()
        };
        for report in reports {
            let numbers = report.numbers();
            figures.counters.add(&numbers.counters);
            figures.gauges.add(&numbers.gauges);
        }
        figures
    }
}
