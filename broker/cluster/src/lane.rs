//! One lane of a link: what two data threads of two nodes owe each other, whatever happens to the connection below.
//!
//! A [`Lane`] numbers the frames it sends and keeps them until they are acknowledged, drops what it receives twice,
//! acknowledges what its owner has settled, pings a silent peer until it counts as gone, and decides by the clock
//! how long a lost connection may be resumed. It owns no socket: the worker gives it frames and time, writes
//! [`unsent`](Lane::unsent) bytes and carries out what it returns.
//!
//! A *life* of a link lasts from its first connection until one side counts the other as gone. It has a number, the
//! epoch, agreed in the greeting: within it nothing is lost or delivered twice; afterwards everything starts again.

mod incoming;
mod outgoing;

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::frame::{CloseReason, ControlFrame, Frame, LinkMessage, Messages, Resume};
use crate::heartbeat::{self, Beat, Heartbeat};
use incoming::{Accepted, Incoming};
use outgoing::Outgoing;

/// Frames of publishes a lane keeps unacknowledged. Other messages may use as many again, because they can't be
/// dropped; what goes beyond both breaks the protocol.
pub const FRAMES_OPEN_MAX: usize = 16 * 1024;

/// Times and bounds of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSettings {
    /// Publishes are refused when this many bytes are unacknowledged. Other messages may use as much again.
    pub buffer_bytes_max: usize,
    /// When a silent peer is pinged, and gone.
    pub heartbeat: heartbeat::Settings,
    /// A lost connection may be replaced for this long; then the peer is gone.
    pub resume: Duration,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            buffer_bytes_max: 16 * 1024 * 1024,
            heartbeat: heartbeat::Settings::default(),
            resume: Duration::from_secs(2),
        }
    }
}

/// What a lane has done, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames of data written for the first time or again.
    pub frames_sent: u64,
    /// Frames of data that were written again on a new connection.
    pub frames_resent: u64,
    /// Frames of data taken.
    pub frames_received: u64,
    /// Frames of data that had been taken before.
    pub frames_duplicate: u64,
    /// Messages refused because the lane was full.
    pub messages_refused: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no life.
    Idle,
    /// Connected; the peer has not said where to go on.
    AwaitResume,
    /// Connected, messages flow.
    Up,
    /// The connection is lost; another may take its place until then.
    AwaitConnection { until: Instant },
}

/// See the [module](self).
#[derive(Debug)]
pub struct Lane {
    settings: LaneSettings,
    state: State,
    epoch: u64,
    heartbeat: Heartbeat,
    outgoing: Outgoing,
    incoming: Incoming,
    counters: LaneCounters,
}

/// What a new connection means to the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connected {
    /// A life begins.
    Began,
    /// The life goes on where the last connection ended.
    Resumed,
    /// A life begins, and with that an older one has ended: what waited for it counts as gone.
    BeganAnew,
}

/// The connection belongs to a life that has ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("connection of epoch {found}, the lane is in epoch {current}")]
pub struct StaleEpoch {
    /// The connection's.
    pub found: u64,
    /// Ours.
    pub current: u64,
}

/// Why a lane did not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// Too much is unacknowledged.
    #[error("the lane is full")]
    Full,
    /// The peer is gone, or was never there.
    #[error("the lane is not linked")]
    NotLinked,
}

/// What came of a frame.
#[derive(Debug, Clone, Copy)]
pub enum Received<'a> {
    /// Nothing for the worker.
    Nothing,
    /// New messages. When all of them are dealt with, [`Lane::settle`] is to be called with this sequence.
    Messages {
        /// The frame's number.
        sequence: u64,
        /// The messages.
        messages: Messages<'a>,
    },
    /// All frames up to this one are dealt with at the peer.
    Acknowledged {
        /// The last of them.
        sequence: u64,
    },
    /// The peer has given the life up. The lane is idle now; close the connection, the peer is gone.
    Closed(CloseReason),
}

/// A peer broke the rules of the lane. Its life is to be ended with [`reason`](Self::reason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LaneError {
    /// A frame is missing.
    #[error("frame {found} arrived, wanted {wanted}")]
    Gap {
        /// The frame that arrived.
        found: u64,
        /// The one that should have.
        wanted: u64,
    },
    /// It acknowledges what it was not sent.
    #[error("frame {found} acknowledged, the last one sent is {sent}")]
    Acknowledged {
        /// What it acknowledges.
        found: u64,
        /// The last frame that was sent completely.
        sent: u64,
    },
    /// It wants to go on from a place we do not have, or in another life.
    #[error("resume after frame {found} of epoch {epoch} asked, frames {first} to {last} are there")]
    Resume {
        /// Where it wants to go on.
        found: u64,
        /// In which life.
        epoch: u64,
        /// The lowest possible answer.
        first: u64,
        /// The highest.
        last: u64,
    },
    /// A frame that has no place there: before Resume, a second Resume, or without a connection.
    #[error("{found} arrived out of place")]
    OutOfPlace {
        /// The frame.
        found: &'static str,
    },
    /// It sent more than a lane may have open.
    #[error("more than {max} frames unsettled")]
    TooFarAhead {
        /// The limit.
        max: usize,
    },
}

impl LaneError {
    /// What to tell the peer.
    pub const fn reason(&self) -> CloseReason {
        match self {
            LaneError::Gap { .. } | LaneError::Resume { .. } => CloseReason::OutOfStep,
            LaneError::Acknowledged { .. } | LaneError::OutOfPlace { .. } => CloseReason::ProtocolError,
            LaneError::TooFarAhead { .. } => CloseReason::Overloaded,
        }
    }
}

/// What the clock has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Nothing, or a ping among the unsent bytes.
    Alive,
    /// The peer is gone. The lane is idle now: close the connection, all its other lanes, and release what waits.
    Gone(Gone),
}

/// Why a peer counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gone {
    /// It answered none of the pings.
    Silent,
    /// It lost the connection and did not come back in time.
    NotResumed,
}

impl Lane {
    /// A lane that waits for its first connection.
    pub fn new(settings: LaneSettings, now: Instant) -> Self {
        Self {
            settings,
            state: State::Idle,
            epoch: 0,
            heartbeat: Heartbeat::new(settings.heartbeat, now),
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            counters: LaneCounters::default(),
        }
    }

    /// The lane has a connection, its first or another one. The worker forgets the old connection.
    pub fn connected(&mut self, epoch: u64, now: Instant) -> Result<Connected, StaleEpoch> {
        let alive = self.is_linked();
        // An ended life keeps its number, so that a connection made for it before is refused.
        if epoch < self.epoch || (epoch == self.epoch && !alive) {
            return Err(StaleEpoch { found: epoch, current: self.epoch });
        }
        let connected = match (alive, epoch == self.epoch) {
            (true, true) => Connected::Resumed,
            (true, false) => Connected::BeganAnew,
            (false, _) => Connected::Began,
        };
        if connected != Connected::Resumed {
            self.reset();
            self.epoch = epoch;
        }
        self.outgoing.disconnect();
        self.outgoing.control(ControlFrame::Resume(Resume { epoch, received: self.incoming.received() }));
        self.incoming.acknowledge_again();
        self.state = State::AwaitResume;
        self.heartbeat.heard(now);
        Ok(connected)
    }

    /// The connection is lost. Messages are kept until [`Tick::Gone`].
    pub fn lost(&mut self, now: Instant) {
        if matches!(self.state, State::AwaitResume | State::Up) {
            self.outgoing.disconnect();
            self.state = State::AwaitConnection { until: now + self.settings.resume };
        }
    }

    /// Ends this life, because the node counts as gone or breaks the rules. A close frame with the reason is among
    /// the unsent bytes if it can be; the worker closes the connection after them.
    pub fn end(&mut self, reason: CloseReason) {
        if self.state == State::Idle {
            return;
        }
        let between_frames = self.outgoing.is_between_frames();
        let connected = self.is_connected();
        self.reset();
        if connected && between_frames {
            self.outgoing.control(ControlFrame::Close(reason));
        }
    }

    fn reset(&mut self) {
        self.outgoing.reset();
        self.incoming = Incoming::default();
        self.state = State::Idle;
    }

    /// Whether there is a life: connected, or it may still be resumed.
    pub const fn is_linked(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether there is a connection now.
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::AwaitResume | State::Up)
    }

    /// The number of this life, or of the last one.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a message to the open frame and returns the number of that frame: when it is acknowledged, the message
    /// is dealt with.
    ///
    /// A publish is refused while the lane is [`full`](Self::is_full); any other message only beyond twice the bounds,
    /// and then the life should be ended as [`CloseReason::Overloaded`], because such messages must not be missed.
    pub fn push(&mut self, message: &LinkMessage<'_>) -> Result<u64, NotTaken> {
        if !self.is_linked() {
            return Err(NotTaken::NotLinked);
        }
        let room = if matches!(message, LinkMessage::Publish(_)) { 1 } else { 2 };
        if self.is_beyond(room) {
            self.counters.messages_refused += 1;
            return Err(NotTaken::Full);
        }
        Ok(self.outgoing.push(message))
    }

    /// Whether publishes are refused: publishers that need this lane are to be held, and copies in bulk stop.
    pub fn is_full(&self) -> bool {
        self.is_beyond(1)
    }

    fn is_beyond(&self, times: usize) -> bool {
        self.outgoing.bytes() >= self.settings.buffer_bytes_max.saturating_mul(times)
            || self.outgoing.frames() >= FRAMES_OPEN_MAX * times
    }

    /// Bytes that are kept until the peer acknowledges them.
    pub fn buffered_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Ends the turn: seals the open frame and acknowledges what was settled. Then [`unsent`](Self::unsent) is
    /// complete.
    pub fn flush(&mut self) {
        self.outgoing.seal();
        if self.state == State::Up
            && let Some(sequence) = self.incoming.take_acknowledgement()
        {
            self.outgoing.control(ControlFrame::Ack { sequence });
        }
    }

    /// Bytes to write next, empty if there are none now. More may follow after [`sent`](Self::sent).
    pub fn unsent(&self) -> &[u8] {
        self.outgoing.unsent(self.state == State::Up)
    }

    /// That many of the [`unsent`](Self::unsent) bytes were written, or taken over by who writes them.
    pub fn sent(&mut self, bytes: usize) {
        self.outgoing.sent(bytes, &mut self.counters);
    }

    /// Bytes arrived: the peer lives. To be called before [`tick`](Self::tick) in each turn, with whatever arrived.
    pub fn heard(&mut self, now: Instant) {
        self.heartbeat.heard(now);
    }

    /// Takes a frame that was read from the connection.
    pub fn handle_frame<'a>(&mut self, frame: Frame<'a>) -> Result<Received<'a>, LaneError> {
        match (frame, self.state) {
            (Frame::Close(reason), State::AwaitResume | State::Up) => {
                self.reset();
                Ok(Received::Closed(reason))
            }
            (Frame::Resume(resume), State::AwaitResume) => {
                self.handle_resume(resume)?;
                Ok(Received::Nothing)
            }
            (Frame::Data { sequence, messages }, State::Up) => self.handle_data(sequence, messages),
            (Frame::Ack { sequence }, State::Up) => {
                self.outgoing.acknowledge(sequence)?;
                Ok(Received::Acknowledged { sequence })
            }
            (Frame::Ping, State::AwaitResume | State::Up) => {
                self.outgoing.pong();
                Ok(Received::Nothing)
            }
            (Frame::Pong, State::AwaitResume | State::Up) => Ok(Received::Nothing),
            (Frame::Data { .. }, _) => Err(LaneError::OutOfPlace { found: "data" }),
            (Frame::Ack { .. }, _) => Err(LaneError::OutOfPlace { found: "acknowledgement" }),
            (Frame::Resume(_), _) => Err(LaneError::OutOfPlace { found: "resume" }),
            (Frame::Ping | Frame::Pong | Frame::Close(_), _) => Err(LaneError::OutOfPlace { found: "frame" }),
        }
    }

    fn handle_resume(&mut self, Resume { epoch, received }: Resume) -> Result<(), LaneError> {
        let possible = self.outgoing.resumable();
        if epoch != self.epoch || !possible.contains(&received) {
            let (first, last) = possible.into_inner();
            return Err(LaneError::Resume { found: received, epoch, first, last });
        }
        self.outgoing.resume_after(received, &mut self.counters);
        self.state = State::Up;
        Ok(())
    }

    fn handle_data<'a>(&mut self, sequence: u64, messages: Messages<'a>) -> Result<Received<'a>, LaneError> {
        match self.incoming.accept(sequence)? {
            Accepted::New => {
                self.counters.frames_received += 1;
                Ok(Received::Messages { sequence, messages })
            }
            Accepted::Duplicate => {
                self.counters.frames_duplicate += 1;
                Ok(Received::Nothing)
            }
        }
    }

    /// Every message of that frame is in its subscribers' queues, or dropped by a policy that counts. Frames may be
    /// settled in any order; the peer is told up to the first that is not.
    pub fn settle(&mut self, sequence: u64) {
        self.incoming.settle(sequence);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Instant) -> Tick {
        match self.state {
            State::Idle => Tick::Alive,
            State::AwaitConnection { until } if now >= until => {
                self.reset();
                Tick::Gone(Gone::NotResumed)
            }
            State::AwaitConnection { .. } => Tick::Alive,
            State::AwaitResume | State::Up => match self.heartbeat.tick(now) {
                Beat::Quiet => Tick::Alive,
                Beat::Probe => {
                    self.outgoing.control(ControlFrame::Ping);
                    Tick::Alive
                }
                Beat::Silent => {
                    self.end(CloseReason::Gone);
                    Tick::Gone(Gone::Silent)
                }
            },
        }
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::AwaitConnection { until } => Some(until),
            State::AwaitResume | State::Up => Some(self.heartbeat.deadline()),
        }
    }

    /// What the lane has done so far, over all its lives.
    pub const fn counters(&self) -> LaneCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
