//! `fulmar-broker passwd NAME`: a user's line for a password file, printed or put into the file.
//!
//! The password comes from the terminal, twice and unseen, or from standard input; never from the command line, which
//! other users of the machine can read. How it is hashed is decided by `fulmar-auth`.

mod file;
mod terminal;

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use fulmar_auth::passwords::{Argon2idParams, PASSWORD_BYTES_MAX, PasswordFile, PasswordLimits, hash_password};

/// As many random bytes as argon2 recommends (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasswdRequest {
    pub(crate) name: String,
    /// None: the line is printed.
    pub(crate) file: Option<PathBuf>,
    /// The user is taken out of the file.
    pub(crate) is_delete: bool,
}

/// Does what was asked.
pub(crate) fn run(request: &PasswdRequest) -> anyhow::Result<()> {
    let PasswdRequest { name, file, is_delete } = request;
    if *is_delete {
        let file = file.as_deref().context("found no file to delete a user from, wanted --file FILE")?;
        return file::change(file, |text| file::without(text, name));
    }
    check_name(name)?;
    let line = line_of(name, &read_password()?)?;
    match file {
        None => writeln!(io::stdout(), "{line}").context("print the line"),
        Some(file) => file::change(file, |text| Ok(file::with(text, name, &line))),
    }
}

/// What a line of a password file can hold, and MQTT can carry.
fn check_name(name: &str) -> anyhow::Result<()> {
    let problem = match name {
        "" => "nothing",
        _ if name.contains(':') => "a colon",
        _ if name.starts_with('#') => "a # at the beginning, which is a comment in the file",
        _ if name.trim() != name => "white space at the beginning or the end",
        _ if name.contains(char::is_control) => "a control character",
        _ => return Ok(()),
    };
    bail!("found {problem} as a name or in it, wanted a user name without it")
}

fn line_of(name: &str, password: &[u8]) -> anyhow::Result<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).context("ask the operating system for random bytes")?;
    let hash = hash_password(password, Argon2idParams::default(), &salt).context("hash the password")?;
    let line = format!("{name}:{hash}");
    // The broker's own reader has the last word on what it takes.
    PasswordFile::parse(&line, PasswordLimits::default())
        .map_err(|errors| anyhow::anyhow!("the line for this name cannot be read: {}", file::told(&errors)))?;
    Ok(line)
}

fn read_password() -> anyhow::Result<Vec<u8>> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_piped(input.lock());
    }
    let password = terminal::ask("Password: ")?;
    check_password(&password)?;
    ensure!(terminal::ask("Password again: ")? == password, "found two different passwords, wanted the same twice");
    Ok(password)
}

/// One line, whose end does not belong to the password.
fn read_piped(input: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut password = Vec::new();
    // Two more are read than can be a password: a line's end and what is too much.
    let max = PASSWORD_BYTES_MAX as u64 + 3;
    input.take(max).read_to_end(&mut password).context("read the password from standard input")?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    check_password(&password)?;
    Ok(password)
}

fn check_password(password: &[u8]) -> anyhow::Result<()> {
    ensure!(!password.is_empty(), "found an empty password, wanted one");
    ensure!(!password.contains(&b'\n'), "found more than one line, wanted the password alone");
    let max = PASSWORD_BYTES_MAX;
    ensure!(password.len() <= max, "found a password that is too long, wanted at most {max} bytes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use fulmar_auth::passwords::Scratch;

    use super::*;

    #[test]
    fn a_line_verifies_its_password_and_no_two_are_alike() {
        let lines = [(); 2].map(|()| line_of("alice", b"correct horse").unwrap());
        assert_ne!(lines[0], lines[1]);
        for line in lines {
            let file = PasswordFile::parse(&line, PasswordLimits::default()).unwrap();
            assert!(file.verify("alice", b"correct horse", &mut Scratch::default()));
            assert!(!file.verify("alice", b"battery staple", &mut Scratch::default()));
        }
    }

    #[test]
    fn names_that_a_file_cannot_hold_are_refused() {
        for name in ["", "a:b", "#a", " a", "a ", "a\nb", "a\u{0}"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "a b", "a#", "größe", "spiffe//x"] {
            check_name(name).unwrap();
        }
        assert!(line_of(&"a".repeat(3000), b"x").unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn a_piped_password_is_one_line_without_its_end() {
        for (piped, password) in [("a b\n", "a b"), ("a\r\n", "a"), ("a", "a"), (" a ", " a ")] {
            assert_eq!(read_piped(piped.as_bytes()).unwrap(), password.as_bytes());
        }
        assert_eq!(read_piped(vec![b'x'; PASSWORD_BYTES_MAX].as_slice()).unwrap().len(), PASSWORD_BYTES_MAX);
        for (piped, wanted) in [
            (b"".to_vec(), "found an empty password, wanted one"),
            (b"\n".to_vec(), "found an empty password, wanted one"),
            (b"a\nb\n".to_vec(), "found more than one line, wanted the password alone"),
            (vec![b'x'; PASSWORD_BYTES_MAX + 1], "found a password that is too long, wanted at most 65535 bytes"),
        ] {
            assert_eq!(read_piped(piped.as_slice()).unwrap_err().to_string(), wanted);
        }
    }
}
