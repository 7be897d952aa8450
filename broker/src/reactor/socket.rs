//! One TCP socket, plain or with TLS on top, without blocking and without buffers of its own beyond rustls's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// How much of a record stream rustls may hold for a socket that takes no more.
pub(crate) const TLS_BUFFER_BYTES: usize = 64 << 10;

/// The longest TLS record (RFC 8446, 5.2: 2^14 and 256 bytes, and its header).
const RECORD_BYTES_MAX: usize = (1 << 14) + 256 + 5;

/// A socket of a client or a peer.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Boxed: most sockets have none.
    tls: Option<Box<rustls::Connection>>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Plaintext bytes, now at the start of the buffer.
    pub(crate) bytes: usize,
    pub(crate) then: Then,
}

/// What may be done after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing is left: wait for an event.
    Wait,
    /// There may be more: read again without waiting.
    ReadOn,
    /// The other side has closed its direction.
    Eof,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writing {
    /// Bytes taken from the front of what was offered.
    pub(crate) bytes: usize,
    /// The socket is full: an event tells when it takes more.
    pub(crate) is_blocked: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, mut tls: Option<Box<rustls::Connection>>) -> Socket {
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        }
        Socket { stream, tls }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn into_parts(self) -> (TcpStream, Option<Box<rustls::Connection>>) {
        (self.stream, self.tls)
    }

    /// Takes at most `max` bytes from the socket, in one read. `cipher` is working space for TLS, as large as `into`.
    ///
    /// Events are edge-triggered: after a short read the next event comes with the next bytes, except that an end of
    /// stream that is already queued (`is_read_closed`) brings no further event and must be read at once.
    #[inline]
    pub(crate) fn read(
        &mut self,
        into: &mut [u8],
        cipher: &mut [u8],
        max: usize,
        is_read_closed: bool,
    ) -> io::Result<Reading> {
        let (plain, secret) = (max.min(into.len()), max.min(cipher.len()));
        match &mut self.tls {
            None => read_plain(&mut self.stream, &mut into[..plain], is_read_closed),
            Some(tls) => read_tls(&mut self.stream, tls, into, &mut cipher[..secret], is_read_closed),
        }
    }

    /// Writes as much of `bytes` as the socket takes.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Writing> {
        match &mut self.tls {
            None => {
                if bytes.is_empty() {
                    return Ok(Writing { bytes: 0, is_blocked: false });
                }
                let written = retry(|| self.stream.write(bytes))?.unwrap_or(0);
                Ok(Writing { bytes: written, is_blocked: written < bytes.len() })
            }
            Some(tls) => write_tls(&mut self.stream, tls, bytes),
        }
    }

    /// Says goodbye and closes our direction.
    pub(crate) fn finish(&mut self) {
        // The peer may be gone, and the socket is closed in any case.
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.write(&[]);
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

fn read_plain(stream: &mut TcpStream, into: &mut [u8], is_read_closed: bool) -> io::Result<Reading> {
    let Some(bytes) = retry(|| stream.read(into))? else { return Ok(Reading { bytes: 0, then: Then::Wait }) };
    let then = match bytes {
        0 => Then::Eof,
        _ if bytes < into.len() && !is_read_closed => Then::Wait,
        _ => Then::ReadOn,
    };
    Ok(Reading { bytes, then })
}

fn read_tls(
    stream: &mut TcpStream,
    tls: &mut rustls::Connection,
    into: &mut [u8],
    cipher: &mut [u8],
    is_read_closed: bool,
) -> io::Result<Reading> {
    // What came with the handshake, or did not fit the last time, comes first.
    let (bytes, is_over) = take_plaintext(tls, into)?;
    if bytes > 0 || is_over {
        return Ok(Reading { bytes, then: if is_over && bytes == 0 { Then::Eof } else { Then::ReadOn } });
    }
    // A record that came in part with earlier reads makes more plaintext than this read alone.
    let space = cipher.len().min(into.len().saturating_sub(RECORD_BYTES_MAX)).max(1);
    let Some(read) = retry(|| stream.read(&mut cipher[..space]))? else {
        return Ok(Reading { bytes: 0, then: Then::Wait });
    };
    if read == 0 {
        return Ok(Reading { bytes: 0, then: Then::Eof });
    }
    // Plaintext is shorter than its records, so all of it fits.
    let mut rest = &cipher[..read];
    let (mut bytes, mut is_over) = (0, false);
    while !rest.is_empty() && !is_over {
        tls.read_tls(&mut rest)?;
        let processed = tls.process_new_packets();
        // Alerts and answers to key updates go out in any case.
        flush_tls(stream, tls)?;
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let (more, over) = take_plaintext(tls, &mut into[bytes..])?;
        (bytes, is_over) = (bytes + more, over);
    }
    let then = match () {
        () if is_over && bytes == 0 => Then::Eof,
        () if read < space && !is_read_closed && !is_over => Then::Wait,
        () => Then::ReadOn,
    };
    Ok(Reading { bytes, then })
}

/// Moves decrypted bytes out of rustls. The second value: the peer has closed its direction.
fn take_plaintext(tls: &mut rustls::Connection, into: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut bytes = 0;
    while bytes < into.len() {
        match tls.reader().read(&mut into[bytes..]) {
            Ok(0) => return Ok((bytes, true)),
            Ok(more) => bytes += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, false))
}

fn write_tls(stream: &mut TcpStream, tls: &mut rustls::Connection, bytes: &[u8]) -> io::Result<Writing> {
    let mut written = 0;
    loop {
        if !flush_tls(stream, tls)? {
            return Ok(Writing { bytes: written, is_blocked: true });
        }
        if written == bytes.len() {
            return Ok(Writing { bytes: written, is_blocked: false });
        }
        written += tls.writer().write(&bytes[written..])?;
    }
}

/// Writes the records that wait. `false`: the socket is full.
fn flush_tls(stream: &mut TcpStream, tls: &mut rustls::Connection) -> io::Result<bool> {
    while tls.wants_write() {
        if retry(|| tls.write_tls(stream))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does what can be done at once; `None`: nothing.
fn retry(mut transfer: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match transfer() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
