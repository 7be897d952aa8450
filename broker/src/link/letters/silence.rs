//! Both sides of a connection for letters beat, and give the other up when nothing came of it for too long.

use std::io;
use std::time::{Duration, Instant};

use fulmar_cluster::heartbeat::{Beat, Heartbeat, Settings};
use fulmar_config::HeartbeatConfig;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A side that has nothing to say says so this often, or as often as the configuration probes lanes, if that is more.
const BEAT: Duration = Duration::from_millis(500);

/// How silence is told, as `cluster.heartbeat` has it for lanes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Patience {
    settings: Settings,
}

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("the peer was silent for {} ms", .0.as_millis())]
struct Silent(Duration);

impl Patience {
    pub(in super::super) fn new(config: &HeartbeatConfig) -> Patience {
        let HeartbeatConfig { interval_milliseconds, timeout_milliseconds, retries } = *config;
        let settings = Settings {
            interval: Duration::from_millis(interval_milliseconds.into()),
            timeout: Duration::from_millis(timeout_milliseconds.into()),
            retries: retries.into(),
        };
        Patience { settings }
    }

    /// Between beats.
    pub(super) fn beat(&self) -> Duration {
        BEAT.min(self.settings.interval)
    }

    /// Reads whatever comes next, a byte at least; time counts from the call. What a side does not read, because it has
    /// no room, is not the other's silence.
    pub(super) async fn read(&self, from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(self.settings, start);
        loop {
            tokio::select! {
                // What has come counts, even if this side stood still for so long that its time is over.
                biased;
                read = from.read(buffer) => return match read? {
                    0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer")),
                    read => Ok(read),
                },
                () = tokio::time::sleep_until(heartbeat.deadline().into()) => {
                    let now = Instant::now();
                    if heartbeat.tick(now) == Beat::Silent {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, Silent(now - start)));
                    }
                }
            }
        }
    }
}
