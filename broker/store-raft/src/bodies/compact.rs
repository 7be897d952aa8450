//! Files that are mostly unwanted are emptied: what is wanted moves to the newest.

use fulmar_log::{Disk, File};
use fulmar_store::{BodyPlace, Shard};

use super::{
    BodyFile, BodyFiles, FILE_HEAD_BYTES, RECORD_HEAD_BYTES, Room, Spilled, check_record, offset_of, record_head,
};
use crate::errors::Failed;

/// So much is looked through in a turn, beside one body that is larger.
const PORTION_BYTES: u64 = 1 << 20;

impl<F: File> BodyFiles<F> {
    /// Whether there is a file to be emptied.
    pub(crate) fn must_compact(&self) -> bool {
        self.to_compact().is_some()
    }

    fn to_compact(&self) -> Option<(u32, u64)> {
        let is_mostly_unwanted = |file: &BodyFile<F>| file.live > 0 && file.live * 2 < file.length;
        let mut others = self.files.iter().filter(|(number, _)| self.current != Some(**number));
        let mut found = || others.find(|(_, file)| is_mostly_unwanted(file)).map(|(number, _)| *number);
        self.compacting.or_else(|| Some((found()?, FILE_HEAD_BYTES as u64)))
    }

    /// Moves what is wanted of the next portion of such a file.
    pub(crate) fn compact<D: Disk<File = F>>(
        &mut self,
        shard: &mut Shard,
        room: &mut Room<'_, D>,
    ) -> Result<Spilled, Failed> {
        let Some((number, from)) = self.to_compact() else { return Ok(Spilled::Yes) };
        let Some(BodyFile { file, length, .. }) = self.files.get(&number) else { return Ok(Spilled::Yes) };
        let (file, end) = (file.clone(), *length);
        let path = self.path(number);
        let unreadable = Failed::disk("read", &path);
        let bytes = read_portion(&*file, from, end).map_err(unreadable)?;
        let (to, base) = match self.end(room)? {
            Ok(place) => place,
            Err(wanted) => return Ok(Spilled::Full(wanted)),
        };
        let (mut moved, mut placed, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(head) = bytes[at..].first_chunk::<RECORD_HEAD_BYTES>() {
            let (length, body) = record_head(head);
            let Some(record) = bytes[at..].get(..RECORD_HEAD_BYTES + length as usize) else { break };
            let offset = from + at as u64;
            if shard.is_at(body, BodyPlace { file: number, offset: offset_of(offset), length }) {
                check_record(record).map_err(|what| Failed::Body { path: path.clone(), offset, body, what })?;
                let offset = offset_of(base + moved.len() as u64);
                moved.extend_from_slice(record);
                placed.push((body, BodyPlace { file: to, offset, length }));
            }
            at += record.len();
        }
        if let Spilled::Full(wanted) = self.append(to, &moved)? {
            return Ok(Spilled::Full(wanted));
        }
        placed.into_iter().for_each(|(body, place)| shard.put_on_disk(body, place));
        self.free(&shard.take_freed());
        let next = from + at as u64;
        let is_through = at == 0 || next >= end;
        self.compacting = (!is_through).then_some((number, next));
        let left = self.files.get(&number).map_or(0, |file| file.live);
        if is_through && left > 0 {
            let what = format!("{left} bytes of bodies are wanted of it and not there");
            return Err(Failed::Body { path, offset: next, body: 0, what });
        }
        Ok(Spilled::Yes)
    }
}

/// Some whole records, and perhaps a part of one more; nothing if the first one ends behind the file.
fn read_portion(file: &impl File, from: u64, end: u64) -> std::io::Result<Vec<u8>> {
    let read = |length: u64| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_at(from, &mut bytes).map(|()| bytes)
    };
    let bytes = read((end - from).min(PORTION_BYTES))?;
    let Some(head) = bytes.first_chunk::<RECORD_HEAD_BYTES>() else { return Ok(bytes) };
    let first = RECORD_HEAD_BYTES as u64 + u64::from(record_head(head).0);
    if first > bytes.len() as u64 && first <= end - from { read(first) } else { Ok(bytes) }
}
