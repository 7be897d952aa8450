//! The API server's audit log: who really asked for what, and what was answered.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One answered request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What was done: get, list, patch and so on.
    pub verb: String,
    #[serde(rename = "requestURI")]
    /// The path that was asked for.
    pub uri: String,
    user: User,
    #[serde(rename = "sourceIPs", default)]
    sources: Vec<String>,
    response_status: Option<ResponseStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ResponseStatus {
    code: u16,
    #[serde(default)]
    message: String,
}

impl Request {
    /// Who asked.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// True for a request that came from this network, told by the beginning of its addresses.
    #[must_use]
    pub fn came_from(&self, network: &str) -> bool {
        self.sources.iter().any(|source| source.starts_with(network))
    }

    /// The status code of the answer; 0 for a request that was never answered.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// True for a 403 that is not about rights: a namespace on its way out takes in nothing new from anybody, and says
    /// so with the same code.
    #[must_use]
    pub fn is_about_an_ending_namespace(&self) -> bool {
        let message = self.response_status.as_ref().map_or("", |status| &status.message);
        message.ends_with("because it is being terminated")
    }
}

/// Reads the log from a byte on.
pub fn read(path: &Path, start: u64) -> Result<Vec<Request>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.seek(SeekFrom::Start(start))?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    // The last line may still be on its way.
    let whole = &text[..text.rfind('\n').unwrap_or_default()];
    whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("understand {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &str) -> Request {
        let line = r#"{"verb":"create","requestURI":"/api","user":{"username":"u"},"responseStatus":STATUS}"#;
        serde_json::from_str(&line.replace("STATUS", status)).unwrap()
    }

    #[test]
    fn a_refusal_for_want_of_rights_and_one_by_an_ending_namespace_are_told_apart() {
        let rights = answered(
            r#"{"code":403,"message":"services is forbidden: User \"u\" cannot create resource \"services\""}"#,
        );
        let ending = answered(
            r#"{"code":403,"message":"services \"x\" is forbidden: unable to create new content in namespace n because it is being terminated"}"#,
        );
        let told = [&rights, &ending].map(|request| (request.code(), request.is_about_an_ending_namespace()));
        assert_eq!(told, [(403, false), (403, true)]);
        assert!(!answered(r#"{"code":200}"#).is_about_an_ending_namespace());
    }
}
