//! What outlives the process, on a thread of its own: it brings what data threads ask to the store, and what that says
//! back to them. While one batch is on its way to the disk the next one gathers, so that under load each sync serves many.
//!
//! A broker without peers keeps everything itself (`alone`); with peers it is a member of a cluster that keeps it
//! together (`member`, `surroundings`). What of a folder may not be on its disk is known to
//! `unsynced`.

mod alone;
mod caught_up;
mod cluster_report;
mod drains;
mod inbox;
mod member;
mod quorum;
mod report;
mod room;
mod sending_away;
mod settings;
mod start;
mod steady;
mod surroundings;
mod told;
mod unsynced;
mod withdrawn;

use std::time::Duration;

use fulmar_worker::Thread;

use alone::Store;
pub(crate) use inbox::Inbox;
use member::MemberStore;
pub(crate) use report::{MemberReport, Report};
pub(crate) use settings::{FOLDER, SHARDS};
use settings::{member_settings, settings};
pub(crate) use start::{Kept, StoreThread, start};
pub(crate) use surroundings::Around;
use surroundings::Surroundings;
pub(crate) use unsynced::begin as begin_with_folder;

/// Numbers are left for `/metrics` this often while there is work.
const REPORT: Duration = Duration::from_millis(250);
/// The store's own thread, which no data thread has as its number.
const OWN: Thread = Thread::MAX;
