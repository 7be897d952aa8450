//! The files of users and of access rules: read whole and checked whole, at the start and whenever they change. One that
//! is no good leaves the last good one in use and says everything that is wrong with it, once.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::Context;
use fulmar_auth::passwords::{PasswordFile, PasswordLimits};
use fulmar_auth::{AccessFile, AccessLimits, FileError};
use fulmar_config::AuthConfig;
use fulmar_worker::Rules;
use tracing::{error, info};

use crate::tls::{Reload, Reloaded};

/// More than a million users need, and no danger to the machine.
const PASSWORD_FILE_BYTES_MAX: u64 = 256 << 20;

/// The files that the configuration names.
#[derive(Debug)]
pub(crate) struct AuthFiles {
    passwords: Option<Watched<PasswordFile>>,
    access: Option<Watched<AccessFile>>,
    generation: AtomicU32,
}

/// How one file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthFile {
    /// The key of the configuration that names it.
    pub(crate) key: &'static str,
    /// Whether what it holds now is in use.
    pub(crate) is_valid: bool,
}

struct Watched<T> {
    key: &'static str,
    path: PathBuf,
    reloaded: Reloaded<Arc<T>>,
    is_valid: AtomicBool,
}

/// All that is wrong with a file.
#[derive(Debug)]
struct Invalid(Vec<FileError>);

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { "; " };
            write!(formatter, "{space}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

impl AuthFiles {
    /// Reads the files for the first time: what is wrong with them then stops the start.
    pub(crate) fn load(config: &AuthConfig) -> anyhow::Result<AuthFiles> {
        let passwords = config.password_file.as_deref().map(|path| {
            Watched::load("auth.passwordFile", path, PASSWORD_FILE_BYTES_MAX, |text| {
                PasswordFile::parse(text, PasswordLimits::default())
            })
        });
        let limits = AccessLimits::default();
        let access = config.access_file.as_deref().map(|path| {
            // One byte more than is allowed, so that the parser sees that it is too much.
            let bytes_max = limits.text_bytes_max as u64 + 1;
            Watched::load("auth.accessFile", path, bytes_max, move |text| AccessFile::parse(text, limits))
        });
        Ok(AuthFiles { passwords: passwords.transpose()?, access: access.transpose()?, generation: AtomicU32::new(0) })
    }

    /// What the files say, as far as they were good.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            generation: self.generation.load(Ordering::Relaxed),
            passwords: self.passwords.as_ref().map(|watched| watched.reloaded.get()),
            access: self.access.as_ref().map(|watched| watched.reloaded.get()),
        }
    }

    /// Reads again what has changed. The new rules, if there are any.
    pub(crate) fn look(&self) -> Option<Rules> {
        let passwords = self.passwords.as_ref().is_some_and(Watched::look);
        let access = self.access.as_ref().is_some_and(Watched::look);
        if !passwords && !access {
            return None;
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        Some(self.rules())
    }

    /// How each file stands.
    pub(crate) fn states(&self) -> Vec<AuthFile> {
        let passwords = self.passwords.as_ref().map(Watched::state);
        passwords.into_iter().chain(self.access.as_ref().map(Watched::state)).collect()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    fn load(
        key: &'static str,
        path: &Path,
        bytes_max: u64,
        parse: impl Fn(&str) -> Result<T, Vec<FileError>> + Send + Sync + 'static,
    ) -> anyhow::Result<Watched<T>> {
        let file = path.to_owned();
        let make = move || parse(&read(&file, bytes_max)?).map(Arc::new).map_err(|errors| Invalid(errors).into());
        let reloaded = Reloaded::load(vec![path.to_owned()], make);
        let reloaded = reloaded.with_context(|| format!("read {key}, {}", path.display()))?;
        Ok(Watched { key, path: path.to_owned(), reloaded, is_valid: AtomicBool::new(true) })
    }

    /// Reads the file again if it has changed. Whether there is something new to use.
    fn look(&self) -> bool {
        let (file, path) = (self.key, self.path.display());
        let found = self.reloaded.reload();
        match &found {
            Ok(false) => return false,
            Ok(true) => info!(file, %path, "a changed file of users or access rules is in use"),
            Err(failure) => match failure.downcast_ref::<Invalid>() {
                Some(Invalid(errors)) => {
                    for FileError { line, path: at, found, wanted } in errors {
                        error!(file, line, at, found, wanted, "a changed file of users or access rules is not used");
                    }
                }
                None => {
                    error!(file, error = format!("{failure:#}"), "a changed file of users or access rules is not used");
                }
            },
        }
        self.is_valid.store(found.is_ok(), Ordering::Relaxed);
        found.is_ok()
    }

    fn state(&self) -> AuthFile {
        AuthFile { key: self.key, is_valid: self.is_valid.load(Ordering::Relaxed) }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("key", &self.key).field("path", &self.path).finish_non_exhaustive()
    }
}

/// A whole file, which may be changing: what is read then is checked all the same.
fn read(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let bytes =
        file.take(bytes_max + 1).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(bytes as u64 <= bytes_max, "found more than {bytes_max} bytes, wanted no more");
    Ok(text)
}
