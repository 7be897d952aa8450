//! Reads letters from one connection and brings them to the store's inbox, as long as the peer writes or beats.

use std::collections::VecDeque;
use std::convert::Infallible;

use fulmar_cluster::letters::{Assembler, BEAT};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::arrivals::Delivery;
use super::silence::Patience;
use super::tally::Tally;

/// Read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Until the connection fails or another takes its place. `bytes` were read after the greeting.
pub(super) async fn read(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
    delivery: &Delivery,
    patience: Patience,
    tally: &Tally,
) -> anyhow::Error {
    let (mut reader, writer) = tokio::io::split(stream);
    tokio::select! {
        result = bring(&mut reader, bytes, delivery, patience, tally) => match result {
            Ok(never) => match never {},
            Err(error) => error,
        },
        error = beat(writer, patience) => error.into(),
    }
}

async fn bring(
    reader: &mut (impl AsyncRead + Unpin),
    bytes: &[u8],
    delivery: &Delivery,
    patience: Patience,
    tally: &Tally,
) -> anyhow::Result<Infallible> {
    let (mut assembler, mut letters, mut waiting) = (Assembler::default(), Vec::new(), VecDeque::new());
    assembler.take(bytes, &mut letters)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        tally.received(&letters);
        waiting.extend(letters.drain(..));
        delivery.bring(&mut waiting).await?;
        // Whoever writes without end must not keep this side from beating, nor others from their turn.
        tokio::task::yield_now().await;
        let read = patience.read(reader, &mut buffer).await?;
        assembler.take(&buffer[..read], &mut letters)?;
    }
}

/// Says that this node lives, whether it reads or waits for room.
async fn beat(mut writer: impl AsyncWrite + Unpin, patience: Patience) -> std::io::Error {
    loop {
        tokio::time::sleep(patience.beat()).await;
        if let Err(error) = writer.write_all(&[BEAT]).await {
            return error;
        }
        if let Err(error) = writer.flush().await {
            return error;
        }
    }
}
