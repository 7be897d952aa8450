//! The commands for data folders.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::Task;
use crate::folder::{ExportRequest, ImportRequest, InspectRequest, RecoverRequest};

const INSPECT: &str = "inspect";
const EXPORT: &str = "export";
const IMPORT: &str = "import";
const RECOVER: &str = "recover";
const ACCEPT_LOSS: &str = "accept-loss";
const FOLDER: &str = "folder";
const FILE: &str = "file";
const DAMAGED: &str = "damaged";
const MERGE: &str = "merge";
const CLUSTER: &str = "cluster";
const JSON: &str = "json";
const SESSIONS: &str = "sessions";
const RETAINED: &str = "retained";

/// One of these commands, if it was given.
pub(super) fn task(matches: &ArgMatches) -> Option<Task> {
    let (name, matches) = matches.subcommand()?;
    let path = |name| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    match name {
        INSPECT => Some(Task::Inspect(InspectRequest {
            folder: path(FOLDER),
            is_json: matches.get_flag(JSON),
            with_sessions: matches.get_flag(SESSIONS),
            with_retained: matches.get_flag(RETAINED),
        })),
        EXPORT => Some(Task::Export(ExportRequest {
            folder: path(FOLDER),
            file: path(FILE),
            is_damaged_allowed: matches.get_flag(DAMAGED),
        })),
        IMPORT => Some(Task::Import(ImportRequest {
            folder: path(FOLDER),
            file: path(FILE),
            is_merge: matches.get_flag(MERGE),
            is_cluster: matches.get_flag(CLUSTER),
        })),
        RECOVER => Some(Task::Recover(RecoverRequest {
            folders: matches.get_many(FOLDER).map(|folders| folders.cloned().collect()).unwrap_or_default(),
            is_loss_accepted: matches.get_flag(ACCEPT_LOSS),
        })),
        _ => None,
    }
}

pub(super) fn commands() -> [Command; 4] {
    let flag = |name, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let inspect = Command::new(INSPECT)
        .about("Tell what is in a data folder and whether a broker would start on it; changes nothing")
        .long_about(
            "Tell what is in a data folder and whether a broker would start on it. No file is opened to be written, so a \
             read-only copy will do.\n\nWhat is wrong is told with the file and the place, what was found and wanted \
             there, what that means and what can be done.",
        )
        .arg(folder())
        .arg(flag(JSON, "Print one JSON document; docs/data-folder.md describes it"))
        .arg(flag(SESSIONS, "List the sessions, too"))
        .arg(flag(RETAINED, "List the topics of retained messages, too"))
        .after_help("Exit codes: 0 sound, 1 damaged or unreadable, 2 no data folder, in use by a broker, or wrong usage.");
    let export = Command::new(EXPORT)
        .about("Write the sessions and retained messages of a data folder to a file; changes nothing in the folder")
        .long_about(
            "Write the sessions and retained messages of a data folder to a file: subscriptions, queues, what QoS 2 has \
             open, wills. Everybody counts as having left now. The file is a line of JSON for each thing; \
             docs/data-folder.md describes it. It holds what clients have sent: keep it as safe as the folder.",
        )
        .arg(folder())
        .arg(file("The file to write, which is replaced when the new one is whole; - is standard output"))
        .arg(flag(DAMAGED, "Take what can be read of a damaged folder"))
        .after_help(
            "Exit codes: 0 all was exported, 1 the folder is damaged and what can be read was exported, 2 nothing was.",
        );
    let import = Command::new(IMPORT)
        .about("Bring what was exported into a data folder that has no session and no retained message")
        .long_about(
            "Bring what was exported into a data folder that has no session and no retained message, or into one that \
             does not exist. The file is read to its end before anything is written, and all of it takes effect in one \
             step: an import that is killed has changed nothing.\n\nRun it as the user who runs the broker, whose \
             files these are to be.",
        )
        .arg(folder())
        .arg(file("The file to read; - is standard input"))
        .arg(flag(
            MERGE,
            "Import into a folder that has something, too. Clients and topics that are there stay as they are, and are told",
        ))
        .arg(flag(
            CLUSTER,
            "Make the folder that of the node that begins a durable cluster, which others join; otherwise it is for a broker \
             that is alone",
        ))
        .after_help("Exit codes: 0 all was imported, 2 nothing was.");
    let recover = Command::new(RECOVER)
        .about("Tell what is left of a cluster that has lost its quorum; with --accept-loss, go on from that")
        .long_about(
            "Tell what is left of a cluster that has lost the quorum of a group for good, and what would be lost if it went \
             on from there. Nothing is changed.\n\nWith --accept-loss the first folder becomes that of the only member of \
             all groups, made of the most recent copies in all folders that are named. Its broker is started first; all \
             others join as new nodes. Whatever folders of other nodes come back later are set aside. docs/recovery.md \
             has it step by step.\n\nRun it as the user who runs the broker, while the brokers of these folders are stopped.",
        )
        .arg(folder().num_args(1..).help("The data folder to go on from, and others that are left to be read, too"))
        .arg(flag(ACCEPT_LOSS, "Do it. What only the lost nodes had is lost for good"))
        .after_help("Exit codes: 0 told or recovered, 1 told of damaged folders, 2 nothing was done.");
    [inspect, export, import, recover]
}

fn file(help: &'static str) -> Arg {
    Arg::new(FILE).value_name("FILE").value_parser(value_parser!(PathBuf)).required(true).help(help)
}

fn folder() -> Arg {
    let folder = Arg::new(FOLDER).value_name("FOLDER").value_parser(value_parser!(PathBuf)).required(true);
    folder.help("The data folder: what --data-dir or dataDir names")
}
