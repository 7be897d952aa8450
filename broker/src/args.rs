//! The command line, and what it says over the configuration file.
//!
//! Each flag has a variable `FULMAR_FLAG_NAME`; the flag beats the variable, both beat the file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use fulmar_config::{
    ListenerConfig, ListenerTls, Override, OverrideValue, Peer, Protocol, Source, environment_override, parse_peer,
};

/// An MQTT 3.1.1 and 5.0 broker. Without file and flags it serves this machine on 127.0.0.1:1883.
#[derive(Debug, Parser)]
#[command(name = "fulmar-broker", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print every error of a configuration file, or the effective configuration with the source of each value.
    Check {
        /// The configuration file.
        file: PathBuf,
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The configuration file (YAML).
    #[arg(long, env = "FULMAR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect: mqtt://ADDRESS:PORT or mqtts://ADDRESS:PORT; may be repeated.
    #[arg(long, env = "FULMAR_LISTEN", value_name = "URL", value_delimiter = ',', value_parser = parse_listen)]
    listen: Vec<Listen>,
    /// The certificate chain for mqtts (PEM).
    #[arg(long, env = "FULMAR_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key for mqtts (PEM).
    #[arg(long, env = "FULMAR_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve clients without credentials also beyond loopback.
    #[arg(long, env = "FULMAR_ALLOW_ANONYMOUS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    allow_anonymous: Option<bool>,
    /// Serve probes and metrics here.
    #[arg(long, env = "FULMAR_HTTP", value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
    /// The folder that keeps the node id (nothing else for now: sessions and retained messages live in memory).
    #[arg(long, env = "FULMAR_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Data threads; 0 is one per core.
    #[arg(long, env = "FULMAR_THREADS", value_name = "NUMBER")]
    threads: Option<u16>,
    /// The node's name in logs, metrics and towards peers.
    #[arg(long, env = "FULMAR_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Where other nodes of the cluster connect.
    #[arg(long, env = "FULMAR_CLUSTER_LISTEN", value_name = "ADDRESS:PORT")]
    cluster_listen: Option<SocketAddr>,
    /// The other nodes of the cluster, with commas between them.
    #[arg(long, env = "FULMAR_PEERS", value_name = "HOST:PORT", value_delimiter = ',', value_parser = peer)]
    peers: Vec<Peer>,
    /// This node's certificate chain for links (PEM); needed when any address is not loopback.
    #[arg(long, env = "FULMAR_CLUSTER_CERT", value_name = "FILE")]
    cluster_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, env = "FULMAR_CLUSTER_KEY", value_name = "FILE")]
    cluster_key: Option<PathBuf>,
    /// The CA certificates that peers are checked against (PEM).
    #[arg(long, env = "FULMAR_CLUSTER_CA", value_name = "FILE")]
    cluster_ca: Option<PathBuf>,
    /// Any setting: limits.packetBytes=65536; the value is YAML. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

/// What the user asks for, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) file: Option<PathBuf>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) is_check: bool,
}

/// Reads a command line and the environment. `Err` is for clap to print: errors, but help and version too.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Request, clap::Error> {
    let matches = Arguments::command().try_get_matches_from(arguments)?;
    let Arguments { command, flags } = Arguments::from_arg_matches(&matches)?;
    let mut overrides: Vec<Override> =
        environment.into_iter().filter_map(|(name, value)| environment_override(&name, &value)).collect();
    overrides.sort_by(|one, other| one.path.cmp(&other.path));
    let (file, flags, matches, is_check) = match (command, matches.subcommand()) {
        (Some(Command::Check { file, flags }), Some((_, matches))) => (Some(file), *flags, matches, true),
        _ => (flags.config.clone(), flags, &matches, false),
    };
    overrides.extend(flags.overrides(matches));
    Ok(Request { file, overrides, is_check })
}

impl Flags {
    /// The values given by variables first, those given by flags last, because the last one wins.
    fn overrides(self, matches: &ArgMatches) -> Vec<Override> {
        let Flags {
            config: _,
            listen,
            tls_cert,
            tls_key,
            allow_anonymous,
            http,
            data_dir,
            threads,
            name,
            cluster_listen,
            peers,
            cluster_cert,
            cluster_key,
            cluster_ca,
            set,
        } = self;
        let mut given: Vec<(&str, String, OverrideValue)> = Vec::new();
        if !listen.is_empty() {
            given.push(("listen", "listeners".into(), OverrideValue::Yaml(listeners(&listen, tls_cert, tls_key))));
        }
        if let Some(allowed) = allow_anonymous {
            given.push(("allow_anonymous", "allowAnonymous".into(), OverrideValue::Yaml(allowed.to_string())));
        }
        for (flag, section, address) in [("http", "http", http), ("cluster_listen", "cluster", cluster_listen)] {
            if let Some(address) = address {
                let text = |text: String| OverrideValue::Text(text);
                given.push((flag, format!("{section}.address"), text(address.ip().to_string())));
                given.push((flag, format!("{section}.port"), text(address.port().to_string())));
            }
        }
        if let Some(threads) = threads {
            given.push(("threads", "threads".into(), OverrideValue::Yaml(threads.to_string())));
        }
        if let Some(name) = name {
            given.push(("name", "name".into(), OverrideValue::Text(name)));
        }
        if !peers.is_empty() {
            let peers = serde_json::to_string(&peers).expect("a list of texts is JSON");
            given.push(("peers", "cluster.peers".into(), OverrideValue::Yaml(peers)));
        }
        let paths = [
            ("data_dir", "dataDir", data_dir),
            ("cluster_cert", "cluster.tls.certFile", cluster_cert),
            ("cluster_key", "cluster.tls.keyFile", cluster_key),
            ("cluster_ca", "cluster.tls.caFile", cluster_ca),
        ];
        for (flag, path, value) in paths {
            if let Some(value) = value {
                given.push((flag, path.into(), OverrideValue::Text(value.to_string_lossy().into_owned())));
            }
        }
        let is_flag = |flag: &str| matches.value_source(flag) != Some(ValueSource::EnvVariable);
        let (flags, variables): (Vec<_>, Vec<_>) = given.into_iter().partition(|(flag, ..)| is_flag(flag));
        let source = |flag: &str, is_flag: bool| match is_flag {
            true => Source::Flag(format!("--{}", flag.replace('_', "-"))),
            false => Source::Environment(format!("FULMAR_{}", flag.to_uppercase())),
        };
        let all = variables.into_iter().map(|given| (given, false)).chain(flags.into_iter().map(|given| (given, true)));
        let mut overrides: Vec<Override> =
            all.map(|((flag, path, value), is_flag)| Override { path, value, source: source(flag, is_flag) }).collect();
        overrides.extend(set.into_iter().map(|(path, value)| Override {
            source: Source::Flag(format!("--set {path}")),
            path,
            value: OverrideValue::Yaml(value),
        }));
        overrides
    }
}

/// One `--listen`.
#[derive(Clone, Debug)]
struct Listen {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    let wanted = || format!("found {text}, wanted mqtt://ADDRESS:PORT or mqtts://ADDRESS:PORT");
    let (scheme, rest) = text.split_once("://").ok_or_else(wanted)?;
    let protocol = match scheme {
        "mqtt" => Protocol::Mqtt,
        "mqtts" => Protocol::Mqtts,
        _ => return Err(wanted()),
    };
    // The port may be left out: then it is the one registered for the protocol.
    let address: Result<SocketAddr, _> = rest.parse();
    let bare = || rest.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match (address, bare()) {
        (Ok(address), _) => Ok(Listen { protocol, address: address.ip(), port: address.port() }),
        (Err(_), Ok(address)) => Ok(Listen { protocol, address, port: protocol.default_port() }),
        (Err(_), Err(_)) => Err(wanted()),
    }
}

/// The listeners as JSON, which is YAML. The first of a protocol has its name, later ones a number.
fn listeners(listen: &[Listen], cert_file: Option<PathBuf>, key_file: Option<PathBuf>) -> String {
    let tls = cert_file.zip(key_file).map(|(cert_file, key_file)| ListenerTls { cert_file, key_file });
    let listeners = listen.iter().enumerate().map(|(index, Listen { protocol, address, port })| {
        let label = match protocol {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts => "mqtts",
        };
        let earlier = listen[..index].iter().filter(|other| other.protocol == *protocol).count();
        ListenerConfig {
            name: if earlier == 0 { label.to_owned() } else { format!("{label}-{}", earlier + 1) },
            protocol: *protocol,
            address: *address,
            port: *port,
            tls: tls.clone().filter(|_| *protocol == Protocol::Mqtts),
        }
    });
    serde_json::to_string(&listeners.collect::<Vec<_>>()).expect("a listener is plain values")
}

fn peer(text: &str) -> Result<Peer, String> {
    parse_peer(text).ok_or_else(|| format!("found {text}, wanted HOST:PORT"))
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("found {text}, wanted KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use fulmar_config::{Effective, load};

    use super::*;

    fn parse_line(line: &str) -> Result<Request, clap::Error> {
        parse(std::iter::once("fulmar-broker").chain(line.split_whitespace()).map(Into::into), [])
    }

    fn effective(line: &str) -> Effective {
        load(None, &parse_line(line).unwrap().overrides).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_flag_changes_nothing() {
        assert_eq!(effective("").config, fulmar_config::Config::default());
    }

    #[test]
    fn listeners_are_named_by_protocol_and_number() {
        let config = effective(
            "--listen mqtt://0.0.0.0:1 --listen mqtt://[::1] --listen mqtts://[::]:3 --tls-cert c --tls-key k",
        )
        .config;
        let shown: Vec<_> = config.listeners.iter().map(|l| (l.name.as_str(), l.address.to_string(), l.port)).collect();
        assert_eq!(shown, [("mqtt", "0.0.0.0".into(), 1), ("mqtt-2", "::1".into(), 1883), ("mqtts", "::".into(), 3)]);
        assert_eq!(config.listeners[0].tls, None);
        assert_eq!(config.listeners[2].tls, Some(ListenerTls { cert_file: "c".into(), key_file: "k".into() }));
    }

    #[test]
    fn three_nodes_on_one_machine_need_only_flags() {
        let line = "--name a --cluster-listen 127.0.0.1:7801 --peers 127.0.0.1:7802,127.0.0.1:7803 --threads 2";
        let effective = effective(line);
        let cluster = effective.config.cluster.clone().unwrap();
        assert_eq!((cluster.port, cluster.peers.len()), (7801, 2));
        assert_eq!(effective.source("cluster.port"), &Source::Flag("--cluster-listen".into()));
        assert_eq!(effective.config.name.as_deref(), Some("a"));
    }

    #[test]
    fn anonymous_clients_are_allowed_by_a_bare_flag_or_by_a_word() {
        assert_eq!(effective("--allow-anonymous").config.allow_anonymous, Some(true));
        assert_eq!(effective("--allow-anonymous=false --threads 1").config.allow_anonymous, Some(false));
        assert_eq!(effective("--threads 1").config.allow_anonymous, None);
    }

    #[test]
    fn set_takes_any_key_and_beats_other_flags() {
        let effective = effective("--threads 1 --set threads=2 --set limits.inflight=9 --set http.port=0");
        assert_eq!((effective.config.threads, effective.config.limits.inflight), (2, 9));
        assert_eq!(effective.source("threads"), &Source::Flag("--set threads".into()));
    }

    #[test]
    fn variables_with_sections_reach_the_configuration() {
        let environment = [("FULMAR_LIMITS__INFLIGHT".to_owned(), "3".to_owned())];
        let request = parse(["fulmar-broker".into()], environment).unwrap();
        assert_eq!(load(None, &request.overrides).unwrap().config.limits.inflight, 3);
    }

    #[test]
    fn check_names_a_file_and_takes_the_same_flags() {
        let request = parse_line("check broker.yaml --threads 3").unwrap();
        assert_eq!((request.is_check, request.file), (true, Some("broker.yaml".into())));
        assert_eq!(load(None, &request.overrides).unwrap().config.threads, 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "--listen ws://0.0.0.0:1",
            "--listen 0.0.0.0:1",
            "--listen mqtt://localhost:1",
            "--tls-cert c",
            "--peers here",
            "--set threads",
            "--frobnicate",
            "check",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
