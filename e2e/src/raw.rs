//! A TCP connection for bytes that no MQTT client would send.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take; longer than the broker waits for a CONNECT in any test.
const LIMIT: Duration = Duration::from_secs(15);

/// A connection.
#[derive(Debug)]
pub struct Raw(TcpStream);

impl Raw {
    /// Connects.
    pub async fn connect(host: &str, port: u16) -> Result<Self> {
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("connect to {host}:{port}"))?;
        Ok(Self(stream))
    }

    /// Sends bytes. A broker that has already closed is no error here: reading tells.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Reads exactly this many bytes.
    pub async fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = timeout(LIMIT, self.0.read_exact(&mut bytes));
        read.await.with_context(|| format!("waited {LIMIT:?} for {length} bytes"))?.context("read an answer")?;
        Ok(bytes)
    }

    /// Reads until the broker closes, and returns what came before.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = timeout(LIMIT, self.0.read_to_end(&mut bytes)).await;
        match read.with_context(|| format!("waited {LIMIT:?} for the broker to close, got {bytes:02x?}"))? {
            // A reset instead of an orderly end: the broker closed while bytes of ours were unread.
            Ok(_) | Err(_) => Ok(bytes),
        }
    }
}
