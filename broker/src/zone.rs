//! Where this node is, as far as that is known now.
//!
//! In a pod the answer comes from outside and may come late: whoever writes it must first learn which machine the pod
//! got. So nobody waits for it, and whoever needs it asks again until it does not matter any more.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fulmar_config::{ClusterConfig, parse_zone};
use tracing::warn;

/// More than a zone's name and the end of its line have no place in the file.
const FILE_BYTES_MAX: u64 = 256;

/// What `cluster.zoneFile` says, or else `cluster.zone`.
pub(crate) fn find(cluster: &ClusterConfig) -> Option<String> {
    let said = cluster.zone_file.as_deref().and_then(read);
    said.or_else(|| cluster.zone.clone())
}

/// The one line of a file that may not be there yet, or be empty as long as nobody knows.
fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(file = %file.display(), %error, "the file with the zone cannot be read");
            return None;
        }
    }
    let text = text.trim();
    let zone = parse_zone(text);
    if zone.is_none() && !text.is_empty() {
        warn!(file = %file.display(), bytes = text.len(), "found no zone in its file, wanted 1 to 63 bytes");
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_what_the_file_says_as_soon_as_it_says_something() {
        let folder = std::env::temp_dir().join(format!("fulmar-zone-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("zone");
        let cluster = |zone: Option<&str>| ClusterConfig {
            zone: zone.map(str::to_owned),
            zone_file: Some(file.clone()),
            ..ClusterConfig::default()
        };
        let found = |zone| find(&cluster(zone));
        assert_eq!((found(None), found(Some("b"))), (None, Some("b".to_owned())), "it is not there");
        for (text, wanted) in [
            ("", None),
            ("\n", None),
            ("eu-west-1a", Some("eu-west-1a")),
            ("eu-west-1a\n", Some("eu-west-1a")),
            (&"x".repeat(64), None),
            (&"x".repeat(100_000), None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(found(None).as_deref(), wanted, "{} bytes", text.len());
        }
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(found(Some("b")).as_deref(), Some("b"));
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(find(&ClusterConfig::default()), None);
    }
}
