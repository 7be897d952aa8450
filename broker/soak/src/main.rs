//! `soak BROKER MINUTES`: a broker under churn of every kind, at a bounded rate, on loopback.
//!
//! It passes if the broker's memory grows by at most 5 % from the minute after the first third to the last one, if no line of its log
//! is an error, and if every gauge is zero when all clients have gone and all that they left has expired.

mod acts;
mod broker;
mod client;
mod files;
mod verdict;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acts::{Actor, SESSION_SECONDS_MAX, Tally};
use anyhow::{Context, Result, bail, ensure};
use broker::Broker;
use files::Files;
use verdict::{Sample, growth};

/// Threads that act. Each does one thing at a time and at most one in `acts::PACE`.
const ACTORS: u64 = 12;
const RELOAD_EVERY: Duration = Duration::from_secs(7);
const GROWTH_PERCENT_MAX: f64 = 5.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [program, minutes] = words[..] else { bail!("wanted BROKER MINUTES") };
    let minutes: u32 = minutes.parse().with_context(|| format!("found `{minutes}`, wanted minutes"))?;
    // The first third settles, so less would compare nothing.
    ensure!(minutes >= 3, "found {minutes} minutes, wanted at least 3");

    let files = Files::new()?;
    let mut broker = Broker::start(Path::new(program), &files)?;
    let samples = churn(&mut broker, &files, minutes)?;
    let percent = growth(&samples, minutes);
    say(&format!("memory grew by {percent:.1} % from minute {} to {minutes}", minutes / 3));
    await_nothing_left(&mut broker)?;
    ensure!(
        percent <= GROWTH_PERCENT_MAX,
        "memory grew by {percent:.1} % from minute {} to {minutes}, at most {GROWTH_PERCENT_MAX} % is allowed",
        minutes / 3
    );
    broker.stop()
}

/// Acts for so many minutes; tells the memory of each second.
fn churn(broker: &mut Broker, files: &Files, minutes: u32) -> Result<Vec<Sample>> {
    let is_over = AtomicBool::new(false);
    let tally = Tally::default();
    let address = broker.address;
    thread::scope(|scope| {
        for seed in 0..ACTORS {
            let (is_over, tally) = (&is_over, &tally);
            scope.spawn(move || Actor::new(seed, address).act_until(is_over, tally));
        }
        let result = watch(broker, files, minutes, &tally);
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

fn watch(broker: &mut Broker, files: &Files, minutes: u32, tally: &Tally) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let (mut samples, mut reloads, mut minute, mut deliveries) = (Vec::new(), 0_u32, 0, 0.0);
    while minute < minutes {
        thread::sleep(Duration::from_secs(1));
        let at = start.elapsed();
        samples.push(Sample { at, bytes: broker.memory_bytes()? });
        if at >= RELOAD_EVERY * (reloads + 1) {
            reloads += 1;
            files.change(reloads)?;
        }
        let passed = u32::try_from(at.as_secs() / 60).unwrap_or(u32::MAX);
        if passed > minute {
            minute = passed;
            let metrics = broker.metrics()?;
            let delivered = metrics.sum("fulmar_deliveries_total");
            say(&format!(
                "minute {minute}: {:.1} MB, {} connections, {} sessions, {} subscriptions, {} bytes queued, {:.0} \
                 messages delivered, {reloads} reloads; {}",
                broker.memory_bytes()? as f64 / 1e6,
                metrics.sum("fulmar_connections"),
                metrics.sum("fulmar_sessions"),
                metrics.sum("fulmar_subscriptions"),
                metrics.sum("fulmar_queued_bytes"),
                delivered - deliveries,
                tally.show(),
            ));
            ensure!(delivered > deliveries, "no message was delivered in minute {minute}");
            deliveries = delivered;
        }
    }
    Ok(samples)
}

/// All clients have gone: what they retained is cleared, what they left expires, and every gauge is zero.
fn await_nothing_left(broker: &mut Broker) -> Result<()> {
    let retained = acts::clear_retained(broker.address).context("clear the retained messages")?;
    ensure!(retained == 0, "{retained} retained messages are still there after all were cleared");
    let end = Instant::now() + Duration::from_secs(u64::from(SESSION_SECONDS_MAX) + 60);
    loop {
        let left = broker.metrics()?.left();
        if left.is_empty() {
            say("nothing is left: every gauge is zero");
            return Ok(());
        }
        ensure!(Instant::now() < end, "everybody has gone, but these are not zero: {}", left.join(", "));
        thread::sleep(Duration::from_millis(500));
    }
}

#[expect(clippy::print_stdout, reason = "it talks to the person who started it")]
fn say(line: &str) {
    println!("{line}");
}
