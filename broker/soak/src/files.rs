//! The broker's configuration, and files of users and rules that change while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use fulmar_auth::passwords::{Argon2idParams, hash_password};

/// Who may always come.
pub(crate) const USER: &str = "soak";
/// Who is in the file at every other time, and is disconnected when not.
pub(crate) const FLEETING_USER: &str = "fleeting";
pub(crate) const PASSWORD: &[u8] = b"soaked";

/// A folder of their own, which goes with them.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new() -> Result<Files> {
        let folder = std::env::temp_dir().join(format!("fulmar-soak-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let files = Files(folder);
        files.change(0)?;
        let place = files.0.display();
        // Limits low enough to be reached, so that what happens there is part of the churn.
        files.put(
            "broker.yaml",
            &format!(
                "auth: {{passwordFile: {place}/users, accessFile: {place}/access.yaml}}\n\
                 listeners: [{{name: mqtt, address: 127.0.0.1, port: 0}}]\n\
                 http: {{address: 127.0.0.1, port: 0}}\n\
                 log: {{format: json}}\n\
                 limits: {{queuedMessages: 100, queuedBytes: 65536, queuedBytesTotal: 2097152, sessions: 400, \
                 retainedMessages: 300, outputBufferBytes: 65536, packetBytes: 65536, connectTimeoutSeconds: 5}}\n"
            ),
        )?;
        Ok(files)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("broker.yaml")
    }

    /// The files as they are after so many changes.
    pub(crate) fn change(&self, number: u32) -> Result<()> {
        let mut users = line(USER)?;
        if number.is_multiple_of(2) {
            users += &line(FLEETING_USER)?;
        }
        self.put("users", &users)?;
        let sometimes = if number.is_multiple_of(3) { "- {deny: all, filters: [\"soak/3/#\"]}\n" } else { "" };
        self.put(
            "access.yaml",
            &format!(
                "rules:\n{sometimes}- {{deny: publish, filters: [\"denied/#\"]}}\n- {{allow: all, filters: [\"#\"]}}\n"
            ),
        )
    }

    /// Replaced in one step: nobody reads half of it.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let (draft, file) = (self.0.join(format!("{name}.new")), self.0.join(name));
        let put = |draft: &Path, file: &Path| fs::write(draft, text).and_then(|()| fs::rename(draft, file));
        put(&draft, &file).with_context(|| format!("write {}", file.display()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A user's line. The salt is fixed, so that the line of who stays does not change.
fn line(user: &str) -> Result<String> {
    let params = Argon2idParams { memory_kib: 64, passes: 1, lanes: 1 };
    let hash = hash_password(PASSWORD, params, b"no random salt !").map_err(|error| anyhow!("{error}"))?;
    Ok(format!("{user}:{hash}\n"))
}
