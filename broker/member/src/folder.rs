//! What the data folder says of the cluster: a file of a few lines, beside the engine's own that has the boot counter.
//!
//! ```text
//! fulmar membership, format 1
//! node 00000000000000ab
//! belongs 0000000000000000000000000000c1c1
//! check 1a2b3c4d
//! ```
//! The last line is the CRC-32C of all before it. The file is to be replaced as a whole, and synced.

use fulmar_meta::{ClusterId, Index, NodeId};
use thiserror::Error;

const TITLE: &str = "fulmar membership, format 1";

/// A file of this kind is never longer.
pub const FOLDER_BYTES_MAX: usize = 512;

/// What a data folder says of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folder {
    /// The node that the folder is of.
    pub node: NodeId,
    /// How far its node has come.
    pub bond: Bond,
}

/// How far a node has come towards belonging to a cluster. It only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// Nothing is said of any cluster.
    None,
    /// It begins this one. Its first entry may be committed or not.
    Begins(ClusterId),
    /// It joins one, which may have taken it in or not.
    Joins {
        /// Which.
        cluster: ClusterId,
        /// An entry of group 0 that was committed when the folder was bound to the cluster: a folder that is older than
        /// the last forgotten retirement may be one of a retired node.
        made_at: Index,
    },
    /// It belongs to one.
    Belongs(ClusterId),
}

impl Bond {
    /// The cluster that the folder is bound to.
    pub fn cluster(self) -> Option<ClusterId> {
        match self {
            Self::None => None,
            Self::Begins(cluster) | Self::Joins { cluster, .. } | Self::Belongs(cluster) => Some(cluster),
        }
    }
}

/// The file can't be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FolderError {
    /// It has other lines than those that are wanted.
    #[error("found no {wanted}")]
    Missing {
        /// What should be there.
        wanted: &'static str,
    },
    /// It was damaged or edited.
    #[error("its check does not match what it says")]
    Damaged,
}

impl Folder {
    /// One that was just made.
    pub const fn new(node: NodeId) -> Self {
        Self { node, bond: Bond::None }
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let Self { node, bond } = self;
        let bond = match bond {
            Bond::None => "free".to_owned(),
            Bond::Begins(cluster) => format!("begins {cluster}"),
            Bond::Joins { cluster, made_at } => format!("joins {cluster} {made_at}"),
            Bond::Belongs(cluster) => format!("belongs {cluster}"),
        };
        let text = format!("{TITLE}\nnode {node:016x}\n{bond}\n");
        let check = crc32c::crc32c(text.as_bytes());
        format!("{text}check {check:08x}\n").into_bytes()
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// Says what is not as it should be.
    pub fn decode(bytes: &[u8]) -> Result<Self, FolderError> {
        let missing = |wanted| FolderError::Missing { wanted };
        let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= FOLDER_BYTES_MAX);
        let mut lines = text.ok_or(missing("text of 512 bytes at most"))?.lines();
        lines.next().filter(|line| *line == TITLE).ok_or(missing("title \"fulmar membership, format 1\""))?;
        let node = lines.next().and_then(|line| line.strip_prefix("node "));
        let node = node.and_then(|it| u64::from_str_radix(it, 16).ok()).ok_or(missing("node"))?;
        let bond = lines.next().and_then(parse_bond).ok_or(missing("bond to a cluster"))?;
        let folder = Self { node, bond };
        // What is written the same way again has the right check, too.
        if folder.encode() == bytes { Ok(folder) } else { Err(FolderError::Damaged) }
    }
}

fn parse_bond(line: &str) -> Option<Bond> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let mut cluster = || words.next().and_then(|word| u128::from_str_radix(word, 16).ok()).map(ClusterId);
    match kind {
        "free" => Some(Bond::None),
        "begins" => cluster().map(Bond::Begins),
        "belongs" => cluster().map(Bond::Belongs),
        "joins" => {
            let cluster = cluster()?;
            let made_at = words.next()?.parse().ok()?;
            Some(Bond::Joins { cluster, made_at })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BONDS: [Bond; 4] = [
        Bond::None,
        Bond::Begins(ClusterId(7)),
        Bond::Joins { cluster: ClusterId(u128::MAX), made_at: u64::MAX },
        Bond::Belongs(ClusterId(0xc1)),
    ];

    #[test]
    fn a_folder_is_read_as_it_was_written() {
        for bond in BONDS {
            let folder = Folder { node: 0xab, bond };
            let bytes = folder.encode();
            assert!(bytes.len() <= FOLDER_BYTES_MAX);
            assert_eq!(Folder::decode(&bytes), Ok(folder));
        }
        let text = String::from_utf8(Folder { node: 0xab, bond: BONDS[3] }.encode()).unwrap();
        assert!(
            text.starts_with(
                "fulmar membership, format 1\nnode 00000000000000ab\nbelongs 000000000000000000000000000000c1\ncheck "
            ),
            "{text}"
        );
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for bond in BONDS {
            let bytes = Folder { node: 0xab, bond }.encode();
            for end in 0..bytes.len() {
                assert!(Folder::decode(&bytes[..end]).is_err(), "{end} bytes");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert!(Folder::decode(&changed).is_err(), "byte {at}");
            }
        }
        let other = Folder::decode(b"fulmar membership, format 2\n").unwrap_err();
        assert_eq!(other.to_string(), "found no title \"fulmar membership, format 1\"");
        assert!(Folder::decode(&[b'a'; FOLDER_BYTES_MAX + 1]).is_err());
    }
}
