//! What a run finds.

use std::fmt;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Somebody could lose something that was promised.
    Harm(String),
    /// What must happen in the end did not.
    Stuck(String),
}

impl Violation {
    /// Whether something could be lost: a deliberate mistake must show this, not only that nothing goes on.
    pub const fn is_harm(&self) -> bool {
        matches!(self, Self::Harm(_))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harm(what) => write!(f, "harm: {what}"),
            Self::Stuck(what) => write!(f, "stuck: {what}"),
        }
    }
}
