//! The MQTT broker of Fulmar: the only broker package that does I/O.
//!
//! `args` and the configuration say what is wanted, `run` starts it all: data threads (`reactor`, around the pure
//! worker) and the control side on tokio (`link`, `tls`, `admin`, `metrics`, `health`).

mod admin;
mod args;
mod check;
mod descriptors;
mod health;
mod link;
mod log;
mod metrics;
mod node_id;
mod reactor;
mod run;
mod setup;
mod shortage;
mod throttle;
mod tls;
mod trace;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use fulmar_config::{Effective, load};

use crate::args::Request;

/// The configuration or the command line is wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let variables = std::env::vars_os();
    let variables = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let request = match args::parse(std::env::args_os().collect::<Vec<OsString>>(), variables) {
        Ok(request) => request,
        // Help and version are answers, not errors.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let is_check = request.is_check;
    match read_configuration(&request) {
        Err(report) => {
            let _ = write!(std::io::stderr(), "{report}");
            ExitCode::from(EXIT_USAGE)
        }
        Ok(effective) if is_check => {
            let _ = write!(std::io::stdout(), "{}", check::report_effective(&effective));
            ExitCode::SUCCESS
        }
        Ok(effective) => match run::run(&effective) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "fulmar-broker: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The effective configuration, or a report of everything that is wrong with it.
fn read_configuration(request: &Request) -> Result<Effective, String> {
    let Request { file, overrides, is_check: _ } = request;
    let text = file.as_deref().map(read_file).transpose().map_err(|error| format!("fulmar-broker: {error:#}\n"))?;
    let shown = file.as_deref().map(|file| file.display().to_string());
    load(text.as_deref(), overrides).map_err(|errors| check::report_errors(shown.as_deref(), &errors))
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read the configuration {}", file.display()))
}
