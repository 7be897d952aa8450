//! The log: lines of text or JSON on standard error, written by a thread of its own.
//!
//! A data thread must never wait for whoever reads the log, so lines pass a bounded queue; those that do not fit are
//! dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use fulmar_config::{LogConfig, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

const QUEUE_LINES: usize = 8192;
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Keeps the log going. [`Log::finish`] writes what is queued.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Queue,
    thread: JoinHandle<()>,
}

/// A way into the log's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Finish,
}

/// Starts the log of this process.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<Log> {
    let (queue, receiver) = queue(QUEUE_LINES);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || write_all(&receiver, io::stderr()))?;
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(queue.clone()).with_target(false);
    let result = match config.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    result.map_err(|error| anyhow::anyhow!("start the log: {error}"))?;
    Ok(Log { queue, thread })
}

impl Log {
    /// How many lines were dropped, for `/metrics`.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.queue.dropped.clone()
    }

    /// Writes what is queued and ends the log.
    pub(crate) fn finish(self) {
        // The writer may have ended already because nobody reads standard error; then nothing can be written.
        if self.queue.sender.send(Entry::Finish).is_ok() {
            let _ = self.thread.join();
        }
    }
}

fn queue(lines: usize) -> (Queue, Receiver<Entry>) {
    let (sender, receiver) = sync_channel(lines);
    (Queue { sender, dropped: Arc::default() }, receiver)
}

/// Writes lines as they come, as many as are there at a time.
fn write_all(receiver: &Receiver<Entry>, mut to: impl Write) {
    let mut buffer = Vec::new();
    while let Ok(entry) = receiver.recv() {
        let mut next = Some(entry);
        let mut is_over = false;
        while let Some(entry) = next.take() {
            match entry {
                Entry::Line(line) => buffer.extend_from_slice(&line),
                Entry::Finish => is_over = true,
            }
            if buffer.len() < WRITE_BYTES_MAX && !is_over {
                next = receiver.try_recv().ok();
            }
        }
        // Nobody to tell when standard error itself is gone.
        let _ = to.write_all(&buffer);
        buffer.clear();
        if is_over {
            return;
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        self
    }
}

impl Write for &Queue {
    /// Called once per entry, with the whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_and_nobody_waits() {
        let (queue, receiver) = queue(2);
        for line in ["a\n", "b\n", "c\n"] {
            assert_eq!((&queue).write(line.as_bytes()).unwrap(), 2);
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 1);
        let mut written = Vec::new();
        drop(queue);
        write_all(&receiver, &mut written);
        assert_eq!(written, b"a\nb\n");
    }

    #[test]
    fn finishing_writes_what_was_queued_before() {
        let (queue, receiver) = queue(8);
        (&queue).write_all(b"a\n").unwrap();
        queue.sender.send(Entry::Finish).unwrap();
        (&queue).write_all(b"late\n").unwrap();
        let mut written = Vec::new();
        write_all(&receiver, &mut written);
        assert_eq!(written, b"a\n");
    }
}
