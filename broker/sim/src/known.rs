//! What checks find and nobody has mended yet. It is told of in the report of a run, and does not fail it.

use crate::checks::{Promise, Violation};

/// Why this is known, if it is.
pub(crate) fn reason(violation: &Violation) -> Option<&'static str> {
    match violation.promise {
        // Live subscribers are not in the entry of a publish of QoS 2: who sends it again through another node, after its
        // own died before PUBREC, may bring it to them twice.
        Promise::OnceLive => Some("messages of QoS 2 for live subscribers, sent again through another node"),
        // A message on its way from outbox to shard is matched when it comes there, which may be after its PUBREC.
        Promise::OnlyOwn => Some("messages that are matched after they were acknowledged"),
        _ => None,
    }
}
