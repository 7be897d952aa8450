//! The flags: what each is called, which setting it means, and how its values are written over the configuration.
//!
//! Values are taken as texts here, and judged where they belong: most by the configuration itself, so that a flag's
//! mistake is found together with those of the file and of the environment. Only what has a form of its own on the
//! command line is read here.

use std::net::SocketAddr;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use fulmar_config::{ConfigError, Override, OverrideValue, Source};

use super::listen::{self, Listen};

/// A flag of the command line, and its variable `FULMAR_NAME`.
struct Flag {
    name: &'static str,
    /// None: settings have variables of their own.
    variable: Option<&'static str>,
    value: &'static str,
    help: &'static str,
    means: Means,
}

/// What becomes of a flag's values.
enum Means {
    /// Something of its own.
    Special,
    /// The setting of this path, as YAML would be read.
    Yaml(&'static str),
    /// The same, as it stands.
    Text(&'static str),
    /// A list of texts; each value may hold several, with commas between them.
    List(&'static str),
    /// The address and the port of this section.
    Socket(&'static str),
}

const fn flag(
    name: &'static str,
    variable: &'static str,
    value: &'static str,
    means: Means,
    help: &'static str,
) -> Flag {
    Flag { name, variable: Some(variable), value, help, means }
}

pub(super) const CONFIG: &str = "config";
const LISTEN: &str = "listen";
const TLS_CERT: &str = "tls-cert";
const TLS_KEY: &str = "tls-key";
const ALLOW_ANONYMOUS: &str = "allow-anonymous";
const SET: &str = "set";

const FLAGS: &[Flag] = &[
    flag(CONFIG, "FULMAR_CONFIG", "FILE", Means::Special, "The configuration file (YAML)"),
    flag(
        LISTEN,
        "FULMAR_LISTEN",
        "URL",
        Means::Special,
        "Where clients connect: mqtt://ADDRESS:PORT or mqtts://ADDRESS:PORT; may be repeated",
    ),
    flag(TLS_CERT, "FULMAR_TLS_CERT", "FILE", Means::Special, "The certificate chain for mqtts (PEM)"),
    flag(TLS_KEY, "FULMAR_TLS_KEY", "FILE", Means::Special, "The private key for mqtts (PEM)"),
    flag(
        ALLOW_ANONYMOUS,
        "FULMAR_ALLOW_ANONYMOUS",
        "BOOL",
        Means::Yaml("allowAnonymous"),
        "Serve clients without credentials also beyond loopback",
    ),
    flag("http", "FULMAR_HTTP", "ADDRESS:PORT", Means::Socket("http"), "Serve probes and metrics here"),
    flag(
        "data-dir",
        "FULMAR_DATA_DIR",
        "FOLDER",
        Means::Text("dataDir"),
        "The folder of this node: its id, sessions and retained messages",
    ),
    flag(
        "durability",
        "FULMAR_DURABILITY",
        "NAME",
        Means::Text("durability"),
        "What has to be kept is acknowledged when it is on disk (fsync), in memory of a majority (memory), or is not kept (none)",
    ),
    flag("threads", "FULMAR_THREADS", "NUMBER", Means::Yaml("threads"), "Data threads; 0 is one per core"),
    flag("name", "FULMAR_NAME", "NAME", Means::Text("name"), "The node's name in logs, metrics and towards peers"),
    flag(
        "cluster-listen",
        "FULMAR_CLUSTER_LISTEN",
        "ADDRESS:PORT",
        Means::Socket("cluster"),
        "Where other nodes of the cluster connect",
    ),
    flag(
        "peers",
        "FULMAR_PEERS",
        "HOST:PORT",
        Means::List("cluster.peers"),
        "The other nodes of the cluster, with commas between them",
    ),
    flag(
        "bootstrap",
        "FULMAR_BOOTSTRAP",
        "BOOL",
        Means::Yaml("cluster.bootstrap"),
        "Whether this node may begin a cluster while all nodes are empty; unless set, if its name ends with -0",
    ),
    flag(
        "cluster-id",
        "FULMAR_CLUSTER_ID",
        "DIGITS",
        Means::Text("cluster.id"),
        "The cluster to join; none is begun where this is set",
    ),
    flag("zone", "FULMAR_ZONE", "NAME", Means::Text("cluster.zone"), "The zone that this node is in"),
    flag(
        "cluster-cert",
        "FULMAR_CLUSTER_CERT",
        "FILE",
        Means::Text("cluster.tls.certFile"),
        "This node's certificate chain for links (PEM); needed when any address is not loopback",
    ),
    flag("cluster-key", "FULMAR_CLUSTER_KEY", "FILE", Means::Text("cluster.tls.keyFile"), "Its private key (PEM)"),
    flag(
        "cluster-ca",
        "FULMAR_CLUSTER_CA",
        "FILE",
        Means::Text("cluster.tls.caFile"),
        "The CA certificates that peers are checked against (PEM)",
    ),
    Flag {
        name: SET,
        variable: None,
        value: "KEY=VALUE",
        means: Means::Special,
        help: "Any setting: limits.packetBytes=65536; the value is YAML. May be repeated",
    },
];

/// The flags as clap knows them.
pub(super) fn arguments() -> impl Iterator<Item = Arg> {
    FLAGS.iter().map(|Flag { name, variable, value, help, means }| {
        let is_repeated = *name == LISTEN || *name == SET || matches!(means, Means::List(_));
        let action = if is_repeated { ArgAction::Append } else { ArgAction::Set };
        let argument = Arg::new(*name).long(*name).value_name(*value).help(*help).action(action);
        let argument = match *name {
            ALLOW_ANONYMOUS => argument.num_args(0..=1).default_missing_value("true").require_equals(true),
            _ => argument,
        };
        match variable {
            Some(variable) => argument.env(*variable),
            None => argument,
        }
    })
}

/// The variables of the flags.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().filter_map(|flag| flag.variable)
}

/// What was given for one flag.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) values: Vec<String>,
    pub(super) source: Source,
}

/// What was given for a flag: before and after `check` it means the same, and a flag beats its variable.
pub(super) fn given(levels: &[&ArgMatches], name: &str) -> Option<Given> {
    let from = |wanted: ValueSource| {
        let given = levels.iter().filter(move |matches| matches.value_source(name) == Some(wanted));
        given.filter_map(|matches| matches.get_many::<String>(name)).map(|values| values.cloned().collect::<Vec<_>>())
    };
    let flags: Vec<String> = from(ValueSource::CommandLine).flatten().collect();
    if !flags.is_empty() {
        return Some(Given { values: flags, source: Source::Flag(format!("--{name}")) });
    }
    // Every level sees the same variable.
    let values = from(ValueSource::EnvVariable).next()?;
    let variable = FLAGS.iter().find(|flag| flag.name == name)?.variable?;
    Some(Given { values, source: Source::Environment(variable.to_owned()) })
}

/// What the flags lay over the configuration: the values of variables first, those of flags last, because the last one
/// wins. What cannot be read goes to `errors`.
pub(super) fn overrides(levels: &[&ArgMatches], errors: &mut Vec<ConfigError>) -> Vec<Override> {
    let mut overrides = listen_overrides(levels, errors);
    for Flag { name, means, .. } in FLAGS {
        let Some(Given { values, source }) = given(levels, name) else { continue };
        let last = values.last().cloned().unwrap_or_default();
        let mut put = |path: String, value| overrides.push(Override { path, value, source: source.clone() });
        match means {
            Means::Special => {}
            Means::Yaml(path) => put((*path).to_owned(), OverrideValue::Yaml(last)),
            Means::Text(path) => put((*path).to_owned(), OverrideValue::Text(last)),
            Means::List(path) => {
                let items: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
                let items = serde_json::to_string(&items).expect("a list of texts is JSON");
                put((*path).to_owned(), OverrideValue::Yaml(items));
            }
            Means::Socket(section) => match last.parse::<SocketAddr>() {
                Ok(address) => {
                    put(format!("{section}.address"), OverrideValue::Text(address.ip().to_string()));
                    put(format!("{section}.port"), OverrideValue::Text(address.port().to_string()));
                }
                Err(_) => {
                    let (path, wanted) = ((*section).to_owned(), "ADDRESS:PORT".to_owned());
                    errors.push(ConfigError { path, origin: source, found: last, wanted });
                }
            },
        }
    }
    overrides.sort_by_key(|given| matches!(given.source, Source::Flag(_)));
    overrides.extend(set_overrides(levels, errors));
    overrides
}

/// `--listen` with `--tls-cert` and `--tls-key`.
fn listen_overrides(levels: &[&ArgMatches], errors: &mut Vec<ConfigError>) -> Vec<Override> {
    let (cert, key) = (given(levels, TLS_CERT), given(levels, TLS_KEY));
    let mut refuse = |source: &Source, found: String, wanted: &str| {
        let (path, wanted) = ("listeners".to_owned(), wanted.to_owned());
        errors.push(ConfigError { path, origin: source.clone(), found, wanted });
    };
    match (&cert, &key) {
        (Some(cert), None) => refuse(&cert.source, "a certificate without its key".to_owned(), "--tls-key too"),
        (None, Some(key)) => refuse(&key.source, "a key without its certificate".to_owned(), "--tls-cert too"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    let listen = given(levels, LISTEN);
    let mut urls = Vec::new();
    if let Some(Given { values, source }) = &listen {
        for text in values.iter().flat_map(|value| value.split(',')) {
            match Listen::parse(text) {
                Some(listen) => urls.push(listen),
                None => refuse(source, text.to_owned(), listen::WANTED),
            }
        }
    }
    if let (Some(cert), Some(_)) = (&cert, &key)
        && !urls.iter().any(Listen::needs_certificate)
    {
        refuse(&cert.source, "a certificate for no listener".to_owned(), "--listen mqtts://ADDRESS:PORT too");
    }
    let Some(Given { source, .. }) = listen.filter(|_| !urls.is_empty()) else { return Vec::new() };
    let file = |given: Option<Given>| given.and_then(|given| given.values.last().map(Into::into));
    let listeners = listen::listeners(&urls, file(cert), file(key));
    vec![Override { path: "listeners".to_owned(), value: OverrideValue::Yaml(listeners), source }]
}

fn set_overrides(levels: &[&ArgMatches], errors: &mut Vec<ConfigError>) -> Vec<Override> {
    let values = given(levels, SET).map(|given| given.values).unwrap_or_default();
    let mut overrides = Vec::new();
    for text in values {
        match text.split_once('=') {
            Some((path, value)) => overrides.push(Override {
                path: path.to_owned(),
                value: OverrideValue::Yaml(value.to_owned()),
                source: Source::Flag(format!("--set {path}")),
            }),
            None => errors.push(ConfigError {
                path: String::new(),
                origin: Source::Flag("--set".to_owned()),
                found: text,
                wanted: "KEY=VALUE".to_owned(),
            }),
        }
    }
    overrides
}
