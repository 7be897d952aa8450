//! The MQTT broker of Fulmar: the only broker package that does I/O.
//!
//! `args` and the configuration say what is wanted, `run` starts it all: data threads (`reactor`, around the pure
//! worker) and the control side on tokio (`link`, `tls`, `admin`, `auth`, `metrics`, `health`).

mod admin;
mod args;
mod auth;
mod boot_clock;
mod check;
mod connect_rate;
mod descriptors;
mod folder;
mod grant;
mod health;
mod link;
mod log;
mod memory;
mod metrics;
mod node_id;
mod passwd;
mod places;
mod pressure;
mod reactor;
mod run;
mod setup;
mod shortage;
mod store;
mod sys;
mod throttle;
mod tls;
mod trace;
mod zone;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use fulmar_config::{Effective, load};

use crate::args::{Request, Task};
use crate::folder::Ended;

/// The configuration or the command line is wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let variables = std::env::vars_os();
    let variables = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let request = match args::parse(std::env::args_os().collect::<Vec<OsString>>(), variables) {
        Ok(Task::Broker(request)) => request,
        Ok(Task::Passwd(request)) => return exit_code(passwd::run(&request)),
        Ok(Task::Inspect(request)) => return exit_code_of_tool(folder::inspect(&request), EXIT_USAGE),
        Ok(Task::Export(request)) => return exit_code_of_tool(folder::export(&request), EXIT_USAGE),
        Ok(Task::Recover(request)) => return exit_code_of_tool(folder::recover(&request), EXIT_USAGE),
        Ok(Task::Import(request)) => return exit_code_of_tool(folder::import(&request), EXIT_USAGE),
        // Help and version are answers, not errors.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let (is_check, warnings) = (request.is_check, request.warnings.clone());
    match read_configuration(request) {
        Err(report) => {
            let _ = write!(std::io::stderr(), "{report}");
            ExitCode::from(EXIT_USAGE)
        }
        Ok(effective) if is_check => {
            let _ = write!(std::io::stderr(), "{}", check::report_warnings(&warnings));
            let _ = write!(std::io::stdout(), "{}", check::report_effective(&effective));
            ExitCode::SUCCESS
        }
        Ok(effective) => exit_code(run::run(&effective, &warnings)),
    }
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fulmar-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Damage is told from a tool that could do nothing, whose exit code is `failed`.
fn exit_code_of_tool(result: anyhow::Result<Ended>, failed: u8) -> ExitCode {
    match result {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Damaged) => ExitCode::FAILURE,
        Err(error) => {
            exit_code(Err(error));
            ExitCode::from(failed)
        }
    }
}

/// The effective configuration, or a report of everything that is wrong with flags, variables and file.
fn read_configuration(request: Request) -> Result<Effective, String> {
    let Request { file, overrides, mut errors, warnings, is_check: _ } = request;
    let shown = file.as_deref().map(|file| file.display().to_string());
    let (text, mut report) = match file.as_deref().map(read_file).transpose() {
        Ok(text) => (text, check::report_warnings(&warnings)),
        // The flags and variables are looked at all the same.
        Err(error) => (None, format!("{}fulmar-broker: {error:#}\n", check::report_warnings(&warnings))),
    };
    let is_read = text.is_some() == file.is_some();
    match load(text.as_deref(), &overrides) {
        Ok(mut effective) if errors.is_empty() && is_read => match setup::host_name() {
            Ok(name) => {
                effective.name_after_host(&name);
                return Ok(effective);
            }
            Err(error) => report.push_str(&format!("fulmar-broker: find the host name: {error:#}\n")),
        },
        Ok(_) => {}
        Err(found) => errors.splice(0..0, found).for_each(drop),
    }
    if !errors.is_empty() {
        report.push_str(&check::report_errors(shown.as_deref(), &errors));
    }
    Err(report)
}

fn read_file(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read the configuration {}", file.display()))
}
