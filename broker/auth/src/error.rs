//! What is wrong with a file, for the person who wrote it: every error at once, up to a bound.

use std::fmt;

/// How many errors of one file are kept; more would not be read.
pub const ERRORS_MAX: usize = 100;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// The key in a YAML file: `rules[0].filters[2]`; empty where there is none.
    pub path: String,
    /// What stands there. Never a password or its hash.
    pub found: String,
    /// What would be accepted.
    pub wanted: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileError { line, path, found, wanted } = self;
        let space = if path.is_empty() { "" } else { " " };
        write!(formatter, "line {line}{space}{path}: found {found}, wanted {wanted}")
    }
}

impl std::error::Error for FileError {}

/// The errors of a file as they are found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<FileError>,
    beyond: usize,
}

impl Findings {
    pub(crate) fn refuse(&mut self, line: usize, path: &str, found: impl Into<String>, wanted: impl Into<String>) {
        if self.errors.len() == ERRORS_MAX {
            self.beyond += 1;
            return;
        }
        self.errors.push(FileError { line, path: path.to_owned(), found: found.into(), wanted: wanted.into() });
    }

    /// `value` if nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Vec<FileError>> {
        let Findings { mut errors, beyond } = self;
        if errors.is_empty() {
            return Ok(value);
        }
        errors.sort_by_key(|error| error.line);
        if beyond > 0 {
            let line = errors.last().map_or(1, |error| error.line);
            let (found, wanted) = (format!("{beyond} more errors"), "none".to_owned());
            errors.push(FileError { line, path: String::new(), found, wanted });
        }
        Err(errors)
    }
}
