//! What writing, opening and reading cost on a real disk:
//! `cargo run --release -p fulmar-log --example measure_log [FOLDER [BATCHES]]`.
//!
//! Batches of 100 entries of 256 bytes, for 13 groups in turn, each batch with a sync of its own, as under load: first
//! into new segments, then with purges, so that segments are written over. The log of the first part is opened again,
//! and one group is read to its end. The folder is made below the one given (the current one) and removed at the end;
//! 10,000 batches take 300 MB.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fulmar_log::{Log, Settings, StdDisk, Write};

const GROUPS: u32 = 13;
const ENTRIES: usize = 100;
const ENTRY_BYTES: usize = 256;
const READ_BYTES: usize = 64 * 1024;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let batches = arguments.next().map_or(Ok(10_000), |text| text.parse()).context("BATCHES is a number")?;
    let folder = parent.join(format!("fulmar-log-measure-{}", std::process::id()));
    let (growing, steady) = (folder.join("growing"), folder.join("steady"));
    let measured = write("new segments", &growing, batches, false)
        .and_then(|()| open_and_read(&growing))
        .and_then(|()| write("segments written over", &steady, batches, true));
    std::fs::remove_dir_all(&folder).context("remove the folder")?;
    measured
}

fn settings() -> Settings {
    Settings::new(1, 2)
}

/// Writes, and reports the second half of it: the first segments are always new.
fn write(what: &str, folder: &Path, batches: usize, is_purging: bool) -> anyhow::Result<()> {
    let (mut log, _) = Log::open(StdDisk, folder, settings())?;
    let payload = [0x5a; ENTRY_BYTES];
    let mut indexes = [0; GROUPS as usize];
    let mut times = Vec::with_capacity(batches);
    let mut writing = Duration::ZERO;
    for batch in 0..batches {
        if batch == batches / 2 {
            times.clear();
            writing = Duration::ZERO;
        }
        let writes: Vec<Write<'_>> = (0..ENTRIES)
            .map(|entry| {
                let at = (batch + entry) % indexes.len();
                indexes[at] += 1;
                let group = u32::try_from(at).expect("a small number");
                Write::Append { group, index: indexes[at], term: 1, payload: &payload }
            })
            .collect();
        let start = Instant::now();
        log.write(&writes)?;
        writing += start.elapsed();
        log.sync()?;
        times.push(start.elapsed());
        if is_purging && batch % 200 == 0 {
            let purges: Vec<Write<'_>> =
                (0..GROUPS).zip(&indexes).map(|(group, &until)| Write::Purge { group, until }).collect();
            log.write(&purges)?;
            log.sync()?;
            log.reclaim()?;
        }
    }
    let took: Duration = times.iter().sum();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000];
    println!(
        "{what}: {} batches of {ENTRIES} x {ENTRY_BYTES} B, one sync each: {:.0} appends/s; \
         batch p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}; {:.1}% of the time is not the sync",
        times.len(),
        (times.len() * ENTRIES) as f64 / took.as_secs_f64(),
        at(500),
        at(990),
        at(999),
        at(1000),
        100.0 * writing.as_secs_f64() / took.as_secs_f64(),
    );
    println!("{:?}", log.usage());
    Ok(log.close()?)
}

fn open_and_read(folder: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    let (mut log, _) = Log::open(StdDisk, folder, settings())?;
    let took = begin.elapsed();
    let bytes = log.usage().bytes as f64;
    println!("open {:.0} MB: {took:?}, {:.0} MB/s", bytes / 1e6, bytes / 1e6 / took.as_secs_f64());

    let begin = Instant::now();
    let mut next = 1;
    loop {
        let read = log.read(0, next, READ_BYTES)?.len();
        if read == 0 {
            break;
        }
        next += read as u64;
    }
    println!("read {} entries of one group: {:.0}/s", next - 1, (next - 1) as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
