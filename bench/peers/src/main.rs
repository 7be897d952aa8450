//! `compare FULMAR`: why rumqttd 0.20 is not the engine, shown by running it beside Fulmar.
//!
//! Each case is a statement of the standard, or a cost, that a broker core has to answer for. A case says what rumqttd did
//! when the decision was taken; the program fails if Fulmar breaks one, and if rumqttd no longer does as recorded: then the
//! decision (docs/decisions/0001-own-engine.md) deserves another look.

mod broker;
mod cases;
mod client;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use broker::Broker;
use cases::{CASES, Case};

fn main() -> Result<ExitCode> {
    let fulmar = std::env::args().nth(1).context("wanted the path of fulmar-broker")?;
    let mut surprises = Vec::new();
    println!("{:<52} {:<16} {:<28} {:<28}", "", "statement", "Fulmar", "rumqttd 0.20.0");
    for case in CASES {
        let Case { name, statement, rumqttd_holds, run } = case;
        // A broker of its own for each case: one that stands still would fail all that follow.
        let ours = run(&Broker::fulmar(Path::new(&fulmar))?);
        let theirs = run(&Broker::rumqttd()?);
        println!("{name:<52} {statement:<16} {:<28} {:<28}", show(&ours), show(&theirs));
        if let Err(error) = &ours {
            surprises.push(format!("{name}: Fulmar breaks it: {error:#}"));
        }
        if theirs.is_ok() != *rumqttd_holds {
            let (now, then) = if theirs.is_ok() { ("holds", "broke") } else { ("breaks", "held") };
            surprises.push(format!("{name}: rumqttd {now} it now and {then} it when this was written"));
        }
    }
    surprises.iter().for_each(|surprise| println!("{surprise}"));
    Ok(if surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(result: &Result<String>) -> String {
    match result {
        Ok(figure) if figure.is_empty() => "holds".to_owned(),
        Ok(figure) => format!("holds: {figure}"),
        Err(error) => format!("breaks: {error}"),
    }
}
