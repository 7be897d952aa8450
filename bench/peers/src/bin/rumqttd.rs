//! rumqttd as a program: `rumqttd CONFIG` or `rumqttd --version`. Its own is not installed with a library.

use anyhow::{Context, Result, bail};
use rumqttd::{Broker, Config};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = match words[..] {
        ["--version"] => {
            println!("rumqttd 0.20.0");
            return Ok(());
        }
        [file] => file,
        _ => bail!("wanted a configuration file"),
    };
    let source = config::File::new(file, config::FileFormat::Toml);
    let settings = config::Config::builder().add_source(source).build().with_context(|| format!("read {file}"))?;
    let config: Config = settings.try_deserialize().with_context(|| format!("read {file}"))?;
    Broker::new(config).start().context("serve")
}
