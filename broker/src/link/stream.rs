//! A connection between two nodes before it is a lane: plain or with TLS, greeted, then taken apart for a data thread.

use std::io;

use anyhow::Context;
use fulmar_cluster::hello::{Greeting, SplitGreeting, encode_greeting, split_greeting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Bytes read at a time; a greeting is shorter, and what follows it goes to the data thread.
const READ_BYTES: usize = 4096;

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a lane is made of: the socket, the state of its encryption, and bytes that were read after the greeting.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) stream: mio::net::TcpStream,
    pub(super) tls: Option<Box<rustls::Connection>>,
    pub(super) bytes: Vec<u8>,
}

impl Stream {
    /// Reads the other side's greeting, and what may follow it into `rest`.
    pub(super) async fn read_greeting(&mut self, rest: &mut Vec<u8>) -> anyhow::Result<Greeting> {
        loop {
            if let SplitGreeting::Whole { greeting, used } = split_greeting(rest)? {
                rest.drain(..used);
                return Ok(greeting);
            }
            let length = rest.len();
            rest.resize(length + READ_BYTES, 0);
            let read = match self {
                Stream::Plain(stream) => stream.read(&mut rest[length..]).await,
                Stream::Tls(stream) => stream.read(&mut rest[length..]).await,
            };
            rest.truncate(length + read.as_ref().map_or(0, |read| *read));
            if read? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a greeting").into());
            }
        }
    }

    pub(super) async fn write_greeting(&mut self, greeting: &Greeting) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_greeting(&mut bytes, greeting);
        match self {
            Stream::Plain(stream) => stream.write_all(&bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Closes our direction, so that the other side reads what was said last.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        }
    }

    /// Takes the socket from this runtime's epoll; it stays non-blocking. `bytes` were read after the greeting.
    pub(super) fn into_parts(self, bytes: Vec<u8>) -> anyhow::Result<Parts> {
        let (socket, tls) = match self {
            Stream::Plain(socket) => (socket, None),
            Stream::Tls(stream) => match *stream {
                TlsStream::Client(stream) => {
                    let (socket, tls) = stream.into_inner();
                    (socket, Some(Box::new(rustls::Connection::from(tls))))
                }
                TlsStream::Server(stream) => {
                    let (socket, tls) = stream.into_inner();
                    (socket, Some(Box::new(rustls::Connection::from(tls))))
                }
            },
        };
        let socket = socket.into_std().context("take the socket from the control side")?;
        Ok(Parts { stream: mio::net::TcpStream::from_std(socket), tls, bytes })
    }
}
