//! Container images as files in docker-archive form, made without Docker.
//!
//! An archive is a tar of one layer (itself a tar), a configuration and a manifest; `ctr images import`,
//! `docker load` and `kind load image-archive` take it. The same content gives the same bytes: files are sorted,
//! owned by root and dated 1970, so that a hash of the configuration (which holds the layer's hash) names the content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// What goes into an image, by absolute path inside it.
#[derive(Debug, Default)]
pub struct ImageContent {
    /// Path to bytes and permission bits.
    pub files: BTreeMap<String, (Vec<u8>, u32)>,
    /// The program that runs.
    pub entrypoint: String,
    /// `UID:GID` that it runs as.
    pub user: String,
    /// Labels, such as `org.opencontainers.image.version`.
    pub labels: BTreeMap<String, String>,
}

/// An image ready to be written under any reference.
#[derive(Debug)]
pub struct Image {
    layer: Vec<u8>,
    configuration: Vec<u8>,
}

impl ImageContent {
    /// Packs the content. Fails only for paths that a tar cannot hold.
    pub fn pack(&self) -> anyhow::Result<Image> {
        let layer = self.layer()?;
        let configuration = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": { "Entrypoint": [self.entrypoint], "User": self.user, "Labels": self.labels, "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex_digest(&layer))] },
        });
        Ok(Image { layer, configuration: configuration.to_string().into_bytes() })
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for folder in self.folders() {
            let header = tar_header(tar::EntryType::Directory, 0o755, 0);
            append(&mut tar, header, &folder, &[])?;
        }
        for (path, (bytes, mode)) in &self.files {
            let header = tar_header(tar::EntryType::Regular, *mode, bytes.len());
            append(&mut tar, header, path, bytes)?;
        }
        Ok(tar.into_inner()?)
    }

    /// Every folder that holds a file, parents first.
    fn folders(&self) -> BTreeSet<String> {
        let parents = self.files.keys().flat_map(|path| Path::new(path).ancestors().skip(1));
        parents.filter(|path| *path != Path::new("/")).map(|path| path.display().to_string()).collect()
    }
}

impl Image {
    /// Twelve hex digits that name the content: the same for the same content, another for any other.
    #[must_use]
    pub fn content_hash(&self) -> String {
        hex_digest(&self.configuration)[..12].to_owned()
    }

    /// The whole archive, under the name `reference`.
    pub fn to_archive(&self, reference: &str) -> anyhow::Result<Vec<u8>> {
        let configuration_path = format!("{}.json", hex_digest(&self.configuration));
        let manifest = json!([
            { "Config": configuration_path, "RepoTags": [reference], "Layers": ["layer.tar"] }
        ])
        .to_string();
        let mut tar = tar::Builder::new(Vec::new());
        let parts: [(&str, &[u8]); 3] = [
            (&configuration_path, &self.configuration),
            ("layer.tar", &self.layer),
            ("manifest.json", manifest.as_bytes()),
        ];
        for (path, bytes) in parts {
            append(&mut tar, tar_header(tar::EntryType::Regular, 0o644, bytes.len()), path, bytes)?;
        }
        Ok(tar.into_inner()?)
    }
}

fn tar_header(kind: tar::EntryType, mode: u32, length: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(length as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(tar: &mut tar::Builder<Vec<u8>>, mut header: tar::Header, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let inside = path.trim_start_matches('/');
    tar.append_data(&mut header, inside, io::Cursor::new(bytes)).with_context(|| format!("pack {path}"))
}

/// SHA-256 in hex.
#[must_use]
pub fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn image(file: &[u8]) -> Image {
        let files = [("/bin/run", (file, 0o755)), ("/etc/ssl/certs/ca.crt", (b"CA".as_slice(), 0o644))];
        let files = files.map(|(path, (bytes, mode))| (path.to_owned(), (bytes.to_vec(), mode)));
        let content = ImageContent {
            files: files.into(),
            entrypoint: "/bin/run".into(),
            user: "65532:65532".into(),
            ..ImageContent::default()
        };
        content.pack().unwrap()
    }

    fn entries(tar: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn same_content_gives_same_bytes_and_other_content_another_hash() {
        let (one, again, other) = (image(b"A"), image(b"A"), image(b"B"));
        assert_eq!(one.to_archive("x:1").unwrap(), again.to_archive("x:1").unwrap());
        assert_eq!(one.content_hash(), again.content_hash());
        assert_ne!(one.content_hash(), other.content_hash());
    }

    #[test]
    fn layer_holds_folders_before_files() {
        let layer = entries(&image(b"A").layer);
        let expected = [
            ("bin", 0o755, &b""[..]),
            ("etc", 0o755, b""),
            ("etc/ssl", 0o755, b""),
            ("etc/ssl/certs", 0o755, b""),
            ("bin/run", 0o755, b"A"),
            ("etc/ssl/certs/ca.crt", 0o644, b"CA"),
        ];
        assert_eq!(layer, expected.map(|(path, mode, bytes)| (path.to_owned(), mode, bytes.to_vec())));
    }

    #[test]
    fn manifest_names_the_reference_and_the_hashed_parts() {
        let image = image(b"A");
        let parts: BTreeMap<_, _> =
            entries(&image.to_archive("x:1").unwrap()).into_iter().map(|(path, _, bytes)| (path, bytes)).collect();
        let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
        let configuration_path = manifest[0]["Config"].as_str().unwrap();
        let configuration: serde_json::Value = serde_json::from_slice(&parts[configuration_path]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["x:1"]));
        assert_eq!(configuration_path, format!("{}.json", hex_digest(&parts[configuration_path])));
        let layer = format!("sha256:{}", hex_digest(&parts["layer.tar"]));
        assert_eq!(configuration["rootfs"]["diff_ids"], json!([layer]));
        assert_eq!(configuration["config"]["User"], "65532:65532");
    }
}
