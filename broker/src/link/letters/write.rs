//! Writes letters to one connection, many small ones at a time, as long as the peer beats.

use std::convert::Infallible;
use std::io::{self, IoSlice};

use fulmar_cluster::letters::head;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::outbox::Outbox;
use super::silence::Patience;
use super::tally::Tally;

/// Letters up to this size are gathered and written together, larger ones from where they are.
const GATHERED_BYTES_MAX: usize = 8 << 10;
/// So much is gathered at a time.
const GATHER_BYTES: usize = 128 << 10;

/// Until the connection fails, the peer is silent or the outbox overflows.
pub(super) async fn write(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    outbox: &Outbox,
    patience: Patience,
    tally: &Tally,
) -> anyhow::Error {
    let (reader, mut writer) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = write_all(&mut writer, outbox, patience, tally) => ended,
        error = listen(reader, patience, tally) => Err(error.into()),
        overflow = outbox.overflow() => Err(overflow.into()),
    };
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    outbox: &Outbox,
    patience: Patience,
    tally: &Tally,
) -> anyhow::Result<Infallible> {
    let (mut batch, mut gathered) = (Vec::new(), Vec::new());
    loop {
        match tokio::time::timeout(patience.beat(), outbox.take(&mut batch)).await {
            Ok(()) => {}
            // Nothing to say: an empty letter says that.
            Err(_) => writer.write_all(&head(0)?).await?,
        }
        for letter in &batch {
            gathered.extend_from_slice(&head(letter.len())?);
            if letter.len() <= GATHERED_BYTES_MAX {
                gathered.extend_from_slice(letter);
            } else {
                write_both(writer, &gathered, letter).await?;
                gathered.clear();
            }
            if gathered.len() >= GATHER_BYTES {
                writer.write_all(&gathered).await?;
                gathered.clear();
            }
        }
        writer.write_all(&gathered).await?;
        gathered.clear();
        writer.flush().await?;
        outbox.written(&batch);
        tally.sent(&batch);
        batch.clear();
        // Others have their turn, and the beats of the peer are heard.
        tokio::task::yield_now().await;
    }
}

async fn write_both(writer: &mut (impl AsyncWrite + Unpin), one: &[u8], other: &[u8]) -> io::Result<()> {
    let mut slices = &mut [IoSlice::new(one), IoSlice::new(other)][..];
    while !slices.is_empty() {
        match writer.write_vectored(slices).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

/// Hears the beats of the peer.
async fn listen(mut reader: impl AsyncRead + Unpin, patience: Patience, tally: &Tally) -> io::Error {
    let mut buffer = [0; 64];
    loop {
        match patience.read(&mut reader, &mut buffer).await {
            Ok(beats) => tally.heard(beats),
            Err(error) => return error,
        }
    }
}
