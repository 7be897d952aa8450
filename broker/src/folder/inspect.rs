//! `fulmar-broker inspect FOLDER`: what is in a data folder, and what is wrong with it.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::report::Report;
use super::{DataFolder, Ended, text, wall_clock};

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InspectRequest {
    pub(crate) folder: PathBuf,
    pub(crate) is_json: bool,
    pub(crate) with_sessions: bool,
    pub(crate) with_retained: bool,
}

/// Reads the folder and prints what it holds.
pub(crate) fn run(request: &InspectRequest) -> anyhow::Result<Ended> {
    let InspectRequest { folder, is_json, with_sessions, with_retained } = request;
    let folder = DataFolder::open(folder)?;
    let report = Report::of(&folder, *with_sessions, *with_retained);
    let shown = match is_json {
        true => serde_json::to_string_pretty(&report).context("write the report as JSON")? + "\n",
        false => text::text(&report, wall_clock()),
    };
    match io::stdout().write_all(shown.as_bytes()) {
        // Who has seen enough closes the pipe.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("print the report"),
        _ => {}
    }
    Ok(if report.is_sound { Ended::Well } else { Ended::Damaged })
}
