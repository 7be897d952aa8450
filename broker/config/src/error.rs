//! Where a value comes from, and what is wrong with it.

use std::fmt;

/// The layer that a value was taken from. Later ones beat earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file, at this line (from 1).
    File {
        /// The line, from 1.
        line: usize,
    },
    /// This environment variable.
    Environment(String),
    /// This command-line flag.
    Flag(String),
    /// Nobody said anything, and the machine has a name.
    HostName,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => formatter.write_str("default"),
            Source::File { line } => write!(formatter, "line {line}"),
            Source::HostName => formatter.write_str("host name"),
            Source::Environment(name) | Source::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One thing that is wrong with a configuration, for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_text}{path_text}: found {found}, wanted {wanted}", source_text = prefix(origin), path_text = shown(path))]
pub struct ConfigError {
    /// The key, from the root: `listeners[0].port`; empty for the document as a whole.
    pub path: String,
    /// Where the value was given.
    pub origin: Source,
    /// What stands there.
    pub found: String,
    /// What would be accepted.
    pub wanted: String,
}

impl ConfigError {
    /// The line in the file, if the value came from there.
    pub fn line(&self) -> Option<usize> {
        match self.origin {
            Source::File { line } => Some(line),
            Source::Default | Source::Environment(_) | Source::Flag(_) | Source::HostName => None,
        }
    }
}

fn prefix(origin: &Source) -> String {
    match origin {
        Source::Default => String::new(),
        given => format!("{given}: "),
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "configuration" } else { path }
}
