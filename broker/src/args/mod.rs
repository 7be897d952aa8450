//! The command line and the environment, and what they say over the configuration file.
//!
//! Each flag has a variable `FULMAR_FLAG_NAME`, each setting of a section a variable `FULMAR_SECTION__KEY`. A flag
//! beats a variable, both beat the file.

mod environment;
mod flags;
mod folder;
mod listen;

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};
use fulmar_config::{ConfigError, Override};

use crate::folder::{ExportRequest, ImportRequest, InspectRequest, RecoverRequest};
use crate::passwd::PasswdRequest;
use environment::Variables;

const CHECK: &str = "check";
const PASSWD: &str = "passwd";
const FILE: &str = "file";
const NAME: &str = "name";
const DELETE: &str = "delete";

const ABOUT: &str = "An MQTT 3.1.1 and 5.0 broker. Without file and flags it serves this machine on 127.0.0.1:1883.";
const ENVIRONMENT_HELP: &str = "\
Environment:
  FULMAR_FLAG_NAME            what the flag of that name says: FULMAR_CLUSTER_LISTEN=127.0.0.1:7800
  FULMAR_SECTION__KEY_NAME    any setting, with two underscores between section and key and one between the words of
                              a key: FULMAR_LIMITS__PACKET_BYTES=65536 is --set limits.packetBytes=65536

A flag beats a variable, a variable beats the file, the file beats the default.";

/// What the program is asked to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Serve, or check what it would serve with.
    Broker(Request),
    /// Make a line of a password file.
    Passwd(PasswdRequest),
    /// Tell what is in a data folder.
    Inspect(InspectRequest),
    /// Write what is in a data folder to a file.
    Export(ExportRequest),
    /// Bring that into a data folder.
    Import(ImportRequest),
    /// Go on from what is left of a cluster.
    Recover(RecoverRequest),
}

/// What the user asks for, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) file: Option<PathBuf>,
    pub(crate) overrides: Vec<Override>,
    /// What is wrong with flags and variables. What is wrong with their values comes out when they are loaded.
    pub(crate) errors: Vec<ConfigError>,
    /// What may be wrong.
    pub(crate) warnings: Vec<String>,
    pub(crate) is_check: bool,
}

/// Reads a command line and the environment. `Err` is for clap to print: unknown flags, but help and version too.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Task, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    if let Some(passwd) = matches.subcommand_matches(PASSWD) {
        let name = passwd.get_one::<String>(NAME).cloned().unwrap_or_default();
        let file = passwd.get_one::<PathBuf>(FILE).cloned();
        return Ok(Task::Passwd(PasswdRequest { name, file, is_delete: passwd.get_flag(DELETE) }));
    }
    if let Some(task) = folder::task(&matches) {
        return Ok(task);
    }
    let check = matches.subcommand_matches(CHECK);
    // Flags before and after `check` mean the same.
    let levels: Vec<_> = std::iter::once(&matches).chain(check).collect();
    let Variables { mut overrides, mut errors, warnings } = environment::read(environment);
    overrides.extend(flags::overrides(&levels, &mut errors));
    // What a start would read, unless `check` names another.
    let named = check.and_then(|check| check.get_one::<PathBuf>(FILE).cloned());
    let file =
        named.or_else(|| flags::given(&levels, flags::CONFIG).and_then(|given| given.values.last().map(PathBuf::from)));
    Ok(Task::Broker(Request { file, overrides, errors, warnings, is_check: check.is_some() }))
}

fn command() -> Command {
    let file = Arg::new(FILE).value_name("FILE").value_parser(value_parser!(PathBuf));
    let check = Command::new(CHECK)
        .about("Print every error of the configuration, or the effective configuration with the source of each value")
        .arg(file.help("The configuration file; unless given, that of a start with the same flags and variables"))
        .args(flags::arguments())
        .after_help(ENVIRONMENT_HELP);
    Command::new("fulmar-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .args(flags::arguments())
        .subcommand(check)
        .subcommand(passwd())
        .subcommands(folder::commands())
        .after_help(ENVIRONMENT_HELP)
}

fn passwd() -> Command {
    let file = Arg::new(FILE).long(FILE).value_name("FILE").value_parser(value_parser!(PathBuf));
    Command::new(PASSWD)
        .about("Print a user's line for a password file, or put it into the file")
        .long_about(
            "Print a user's line for a password file, or put it into the file.\n\nThe password is asked for on the \
             terminal, or read from standard input: it is never an argument.",
        )
        .arg(Arg::new(NAME).value_name("NAME").required(true).help("The user's name"))
        .arg(file.help("The file in which the user's line is added or replaced; brokers read it again by themselves"))
        .arg(
            Arg::new(DELETE)
                .long(DELETE)
                .action(ArgAction::SetTrue)
                .requires(FILE)
                .help("Take the user out of the file"),
        )
}

#[cfg(test)]
mod tests {
    use fulmar_config::{Effective, ListenerTls, Source, load};

    use super::*;

    fn task(line: &str) -> Result<Task, clap::Error> {
        parse(std::iter::once("fulmar-broker").chain(line.split_whitespace()).map(Into::into), [])
    }

    fn parse_line(line: &str) -> Result<Request, clap::Error> {
        task(line).map(|task| match task {
            Task::Broker(request) => request,
            other => panic!("{other:?}"),
        })
    }

    fn effective(line: &str) -> Effective {
        load(None, &parse_line(line).unwrap().overrides).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
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
        assert_eq!(config.listeners[2].tls, Some(ListenerTls::new("c", "k")));
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
        let Task::Broker(request) = parse(["fulmar-broker".into()], environment).unwrap() else { panic!("no broker") };
        assert_eq!(load(None, &request.overrides).unwrap().config.limits.inflight, 3);
    }

    #[test]
    fn check_names_a_file_and_takes_the_same_flags() {
        let request = parse_line("check broker.yaml --threads 3").unwrap();
        assert_eq!((request.is_check, request.file), (true, Some("broker.yaml".into())));
        assert_eq!(load(None, &request.overrides).unwrap().config.threads, 3);
    }

    #[test]
    fn check_without_a_file_is_about_what_a_start_would_read() {
        for line in
            ["check --config broker.yaml", "--config broker.yaml check", "--config other.yaml check broker.yaml"]
        {
            let request = parse_line(line).unwrap();
            assert_eq!((request.is_check, request.file), (true, Some("broker.yaml".into())), "{line}");
        }
        let request = parse_line("check --threads 3").unwrap();
        assert_eq!((request.is_check, request.file), (true, None));
    }

    #[test]
    fn flags_stand_before_and_behind_check_and_add_up() {
        let line = "--set limits.inflight=3 --threads 2 check broker.yaml --set limits.sessions=4 --threads 3";
        let request = parse_line(line).unwrap();
        assert_eq!((request.is_check, request.file, request.errors), (true, Some("broker.yaml".into()), vec![]));
        let config = load(None, &request.overrides).unwrap().config;
        assert_eq!((config.limits.inflight, config.limits.sessions, config.threads), (3, 4, 3));
    }

    #[test]
    fn a_password_is_no_argument() {
        let Task::Passwd(request) = task("passwd --file users --delete alice").unwrap() else { panic!("no passwd") };
        let wanted = PasswdRequest { name: "alice".to_owned(), file: Some("users".into()), is_delete: true };
        assert_eq!(request, wanted);
        for line in ["passwd", "passwd alice secret", "passwd --password secret alice", "passwd --delete alice"] {
            assert!(task(line).is_err(), "{line}");
        }
    }

    #[test]
    fn data_folders_are_named_with_what_is_to_be_done() {
        let folder = || "data".into();
        let inspected = InspectRequest { folder: folder(), is_json: true, with_sessions: false, with_retained: true };
        assert!(matches!(task("inspect data --json --retained").unwrap(), Task::Inspect(it) if it == inspected));
        let exported = ExportRequest { folder: folder(), file: "-".into(), is_damaged_allowed: true };
        assert!(matches!(task("export --damaged data -").unwrap(), Task::Export(it) if it == exported));
        let imported = ImportRequest { folder: folder(), file: "file".into(), is_merge: false, is_cluster: true };
        assert!(matches!(task("import --cluster data file").unwrap(), Task::Import(it) if it == imported));
        for line in ["inspect", "export data", "import data", "inspect data more", "import data file --damaged"] {
            assert!(task(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_explains_how_variables_are_spelled() {
        for line in ["--help", "check --help"] {
            let help = parse_line(line).unwrap_err().to_string();
            assert!(help.contains("FULMAR_LIMITS__PACKET_BYTES=65536"), "{help}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in ["--frobnicate", "serve", "--threads"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
        for (line, wanted) in [
            ("--listen ws://0.0.0.0:1", "--listen: listeners: found ws://0.0.0.0:1, wanted mqtt://ADDRESS:PORT or"),
            ("--listen 0.0.0.0:1", "--listen: listeners: found 0.0.0.0:1, wanted"),
            ("--listen mqtt://localhost:1", "--listen: listeners: found mqtt://localhost:1, wanted"),
            ("--tls-cert c", "--tls-cert: listeners: found a certificate without its key, wanted --tls-key too"),
            ("--tls-key c", "--tls-key: listeners: found a key without its certificate, wanted --tls-cert too"),
            ("--tls-cert c --tls-key k", "--tls-cert: listeners: found a certificate for no listener, wanted --listen"),
            ("--http 8080", "--http: http: found 8080, wanted ADDRESS:PORT"),
            ("--peers here", "--peers: cluster.peers[0]: found \"here\", wanted HOST:PORT"),
            ("--threads many", "--threads: threads: found many, wanted a whole number from 0 to 1024"),
            ("--allow-anonymous=perhaps", "--allow-anonymous: allowAnonymous: found perhaps, wanted true or false"),
            ("--set threads", "--set: configuration: found threads, wanted KEY=VALUE"),
        ] {
            let Request { overrides, mut errors, .. } = parse_line(line).unwrap();
            errors.extend(load(None, &overrides).err().unwrap_or_default());
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(found.len() == 1 && found[0].starts_with(wanted), "{line}: {found:?}");
        }
    }
}
