//! The folder of a broker alone after something happened to it: what a crash may leave behind is put right, and what
//! only a broken disk or a foreign hand can have done keeps the broker from starting.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use fulmar_codec::QoS;

use crate::durable::{lasting, publish, publisher, settle, start, take_numbers};
use crate::harness::{Broker, Client, Folder, Start};

const MESSAGES: u32 = 200;

/// The newest segment of the log.
fn last_segment(folder: &Folder) -> PathBuf {
    let files = fs::read_dir(folder.path().join("data/store/log")).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.max().expect("there is a log")
}

/// A broker that keeps messages for an absent client.
fn start_with_messages(folder: &Folder) -> Broker {
    let broker = start(folder, &[]);
    Client::connect_with(broker.address("mqtt"), &lasting("absent")).subscribe("numbers", QoS::AtLeastOnce);
    publish(&mut publisher(&broker), "numbers", 0..MESSAGES);
    settle(&broker, 0);
    broker
}

fn stop(mut broker: Broker) {
    broker.signal(libc::SIGTERM);
    assert!(broker.wait().success());
}

/// Starts a broker on the folder, whose messages are all there.
fn starts_with_all(folder: &Folder) {
    let broker = start(folder, &[]);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("absent"));
    assert_eq!(take_numbers(&mut client, MESSAGES as usize), (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_damaged_log_keeps_the_broker_from_starting_and_is_named() {
    let folder = Folder::new();
    stop(start_with_messages(&folder));
    let path = last_segment(&folder);
    let whole = fs::read(&path).unwrap();
    // In the head of the segment, and in the middle of what was written.
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for at in [20, end / 3, end / 2] {
        let flipped: Vec<u8> = whole[at..at + 2].iter().map(|byte| !byte).collect();
        File::options().write(true).open(&path).unwrap().write_all_at(&flipped, at as u64).unwrap();
        let damaged = fs::read(&path).unwrap();
        let data = format!("dataDir={}", folder.path().join("data").display());
        let exit = Start::with(&[&data]).run_to_end();
        assert_eq!(exit.status.code(), Some(1), "{at} of {end}: {}", exit.errors);
        let named = format!("{} is damaged at offset", path.display());
        let last = exit.errors.lines().last().unwrap();
        assert!(last.starts_with("fulmar-broker: ") && last.contains(&named), "{at} of {end}: {last}");
        assert!(fs::read(&path).unwrap() == damaged, "{at} of {end}: the log was changed");
        fs::write(&path, &whole).unwrap();
    }
    // The last batch of a log that was closed only says that all before it was synced: without it nothing is missing.
    File::options().write(true).open(&path).unwrap().write_all_at(&[!whole[end]], end as u64).unwrap();
    starts_with_all(&folder);
}

#[test]
fn what_a_crash_left_behind_the_last_sync_is_cut() {
    // Bytes of another time, and the beginning of something that could have become a batch.
    for is_like_batch in [false, true] {
        let folder = Folder::new();
        start_with_messages(&folder).kill();
        let path = last_segment(&folder);
        let whole = fs::read(&path).unwrap();
        let torn = if is_like_batch { whole[whole.len() / 2..][..1000].to_vec() } else { vec![0xa5; 1000] };
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut &file, &torn).unwrap();
        starts_with_all(&folder);
        starts_with_all(&folder);
    }
}

#[test]
fn a_log_without_its_last_bytes_is_read_up_to_there() {
    let folder = Folder::new();
    start_with_messages(&folder).kill();
    let path = last_segment(&folder);
    let length = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(length - 7).unwrap();
    let broker = start(&folder, &[]);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("absent"));
    // The last batch has at most the last message.
    assert_eq!(take_numbers(&mut client, MESSAGES as usize - 1), (0..MESSAGES - 1).collect::<Vec<_>>());
}
