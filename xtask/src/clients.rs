//! `cargo xtask clients`: the broker against MQTT clients of other people's making.

use std::path::Path;

use anyhow::Result;
use fulmar_testbed::clients::Clients;

use crate::cargo::cargo;
use crate::steps::{Steps, say};

/// What `cargo xtask clients` can be told.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// What the test program is told, such as the name of one test.
    #[arg(last = true)]
    test_arguments: Vec<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let result = run_steps(root, arguments, &mut steps);
    steps.say_summary();
    result
}

/// The same as a part of a larger task.
pub(crate) fn run_steps(root: &Path, arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    let Clients { paho_go, paho_python, mqttjs } =
        steps.step("install clients", || Clients::find_or_install(&mut |line| say(line)))?;
    let mut command = cargo(root, "test --locked --workspace --test clients -- --ignored");
    command.args(&arguments.test_arguments);
    command.env("FULMAR_PAHO_GO", paho_go).env("FULMAR_PAHO_PYTHON", paho_python).env("FULMAR_MQTTJS", mqttjs);
    steps.test("clients", &mut command)
}
