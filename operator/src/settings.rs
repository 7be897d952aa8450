//! The operator's own settings, from flags and environment.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// The Fulmar operator: runs MqttCluster resources.
#[derive(Clone, Debug, Parser)]
#[command(name = "fulmar-operator", version)]
pub(crate) struct Settings {
    /// Image of the brokers: a repository and, as its tag, the version that new clusters get.
    #[arg(long, env = "FULMAR_BROKER_IMAGE")]
    pub(crate) broker_image: ImageReference,
    /// Namespaces to watch, separated by commas; none is all.
    #[arg(long, env = "FULMAR_WATCH_NAMESPACES", value_delimiter = ',', default_value = "")]
    pub(crate) watch_namespaces: Vec<String>,
    /// Address of the HTTP port for metrics and probes.
    #[arg(long, env = "FULMAR_HTTP", default_value = "[::]:8080")]
    pub(crate) http: SocketAddr,
    /// How often every cluster is reconciled although nothing changed, in seconds.
    #[arg(long, env = "FULMAR_RESYNC_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) resync_seconds: u64,
    /// How often the metrics of the brokers are read, in seconds.
    #[arg(long, env = "FULMAR_SCRAPE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) scrape_seconds: u64,
    /// Form of the log.
    #[arg(long, env = "FULMAR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub(crate) log_format: LogFormat,
    /// What to log, as a filter of levels and modules.
    #[arg(long, env = "FULMAR_LOG", default_value = "info")]
    pub(crate) log: String,
}

impl Settings {
    /// How often every cluster is reconciled although nothing changed.
    pub(crate) fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }

    /// How often the metrics of the brokers are read.
    pub(crate) fn scrape_interval(&self) -> Duration {
        Duration::from_secs(self.scrape_seconds)
    }

    /// The namespaces to watch; `None` is all of them.
    pub(crate) fn scopes(&self) -> Vec<Option<String>> {
        let named: Vec<_> =
            self.watch_namespaces.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
        if named.is_empty() { vec![None] } else { named.into_iter().map(|name| Some(name.to_owned())).collect() }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For log collectors.
    Json,
}

/// A repository and the version it is used at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageReference {
    pub(crate) repository: String,
    pub(crate) version: String,
}

impl FromStr for ImageReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A colon before the last slash belongs to the registry's port.
        let name = text.rfind('/').map_or(0, |slash| slash + 1);
        match text[name..].rsplit_once(':') {
            Some((_, version)) if !version.is_empty() && !text.contains('@') => {
                Ok(Self { repository: text[..text.len() - version.len() - 1].to_owned(), version: version.to_owned() })
            }
            _ => Err(format!("found {text:?}, wanted REPOSITORY:VERSION, for example fulmar.dev/fulmar-broker:v0.1.0")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_split_at_its_tag_and_not_at_a_port() {
        let read = |text: &str| text.parse::<ImageReference>().map(|image| (image.repository, image.version));
        let pair = |repository: &str, version: &str| Ok((repository.to_owned(), version.to_owned()));
        assert_eq!(read("fulmar.dev/fulmar-broker:v0.1.0"), pair("fulmar.dev/fulmar-broker", "v0.1.0"));
        assert_eq!(read("localhost:5000/broker:v1"), pair("localhost:5000/broker", "v1"));
        assert!(read("localhost:5000/broker").is_err());
        assert!(read("broker").is_err());
        assert!(read("broker@sha256:00").is_err());
    }

    #[test]
    fn no_namespace_means_all() {
        let settings = |namespaces: &str| {
            Settings::try_parse_from(["operator", "--broker-image", "b:v1", "--watch-namespaces", namespaces]).unwrap()
        };
        assert_eq!(settings("").scopes(), [None]);
        assert_eq!(settings("a, b").scopes(), [Some("a".to_owned()), Some("b".to_owned())]);
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Settings::command().debug_assert();
    }
}
