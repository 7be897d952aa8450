//! `fulmar-broker passwd`: lines that brokers take, files that are changed safely, a password that nobody sees.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fulmar_auth::passwords::{PasswordFile, PasswordLimits, Scratch};

use crate::harness::Folder;

fn passwd(arguments: &[&str], password: &str) -> Output {
    let mut command = command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever needs no password does not read it.
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    child.wait_with_output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulmar-broker"));
    command.arg("passwd").args(arguments).env_clear();
    command
}

fn refused(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn verifies(text: &str, name: &str, password: &str) -> bool {
    let users = PasswordFile::parse(text, PasswordLimits::default()).unwrap();
    users.verify(name, password.as_bytes(), &mut Scratch::default())
}

/// A password file, and the argument for it.
struct Users {
    folder: Folder,
}

impl Users {
    fn new() -> Users {
        Users { folder: Folder::new() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    fn run(&self, arguments: &[&str], password: &str) -> Output {
        let path = self.path();
        let file = ["--file", path.to_str().unwrap()];
        passwd(&[&file, arguments].concat(), password)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn mode(&self) -> u32 {
        mode(&self.path())
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_line_is_printed_for_the_password_on_standard_input() {
    let output = passwd(&["alice"], "correct horse\n");
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("alice:$argon2id$v=19$") && line.ends_with('\n') && line.lines().count() == 1, "{line}");
    assert!(verifies(&line, "alice", "correct horse"));
    let error = refused(&passwd(&["a:b"], "x"));
    assert_eq!(error, "fulmar-broker: found a colon as a name or in it, wanted a user name without it\n");
    assert_eq!(refused(&passwd(&["alice"], "")), "fulmar-broker: found an empty password, wanted one\n");
}

#[test]
fn users_are_added_replaced_and_deleted_in_a_file_that_keeps_all_else() {
    let users = Users::new();
    assert!(users.run(&["alice"], "one").status.success());
    assert_eq!(users.mode(), 0o600);
    std::fs::write(users.path(), format!("# staff\n{}", users.text())).unwrap();
    std::fs::set_permissions(users.path(), Permissions::from_mode(0o640)).unwrap();
    assert!(users.run(&["bob"], "two").status.success());
    let before = users.text();
    assert!(users.run(&["alice"], "three").status.success());
    let after = users.text();
    assert!(verifies(&after, "alice", "three") && verifies(&after, "bob", "two"));
    assert!(!verifies(&after, "alice", "one"));
    let [before, after] = [&before, &after].map(|text| text.lines().collect::<Vec<_>>());
    assert_eq!((before.len(), after.len(), before[0], before[2]), (3, 3, after[0], after[2]));
    assert_eq!(users.mode(), 0o640, "who could read it still can");

    assert!(users.run(&["--delete", "alice"], "").status.success());
    assert_eq!(users.text().lines().collect::<Vec<_>>(), [before[0], before[2]]);
    let error = refused(&users.run(&["--delete", "alice"], ""));
    assert_eq!(error, "fulmar-broker: found no user \"alice\" in the file, wanted one\n");
    // Nothing else was left in the folder.
    assert_eq!(std::fs::read_dir(users.folder.path()).unwrap().count(), 1);
}

#[test]
fn a_link_stays_and_the_file_behind_it_changes() {
    let users = Users::new();
    let target = users.folder.path().join("target");
    std::os::unix::fs::symlink("target", users.path()).unwrap();
    std::fs::write(&target, "").unwrap();
    std::fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    assert!(users.run(&["alice"], "one").status.success());
    assert!(users.path().symlink_metadata().unwrap().is_symlink());
    assert!(verifies(&std::fs::read_to_string(target).unwrap(), "alice", "one"));
}

#[test]
fn a_file_that_others_may_write_or_that_brokers_refuse_is_left_alone() {
    let users = Users::new();
    std::fs::write(users.path(), "# staff\n").unwrap();
    for open in [0o620, 0o602, 0o666] {
        std::fs::set_permissions(users.path(), Permissions::from_mode(open)).unwrap();
        let error = refused(&users.run(&["alice"], "one"));
        assert!(error.contains(&format!("found that others may write it (mode {open:04o}), wanted")), "{error}");
    }
    std::fs::set_permissions(users.path(), Permissions::from_mode(0o600)).unwrap();
    std::fs::write(users.path(), "# staff\nbob secret\n").unwrap();
    let error = refused(&users.run(&["alice"], "one"));
    assert!(error.contains("line 2: found no colon, wanted NAME:HASH") && !error.contains("secret"), "{error}");
    assert_eq!(users.text(), "# staff\nbob secret\n");
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let users = Users::new();
    let names: Vec<String> = (0..8).map(|number| format!("user-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| assert!(users.run(&[name], name).status.success()));
        }
    });
    let text = users.text();
    assert!(names.iter().all(|name| verifies(&text, name, name)), "{text}");
}

/// A terminal: what a person sees and types, and what a program has as standard input.
struct Terminal {
    person: File,
    program: OwnedFd,
}

impl Terminal {
    fn open() -> Terminal {
        let (mut person, mut program) = (-1, -1);
        let nothing = std::ptr::null_mut();
        // SAFETY: both numbers are ours, and the last three may be null.
        let opened = unsafe { libc::openpty(&mut person, &mut program, nothing, nothing.cast(), nothing.cast()) };
        assert_eq!(opened, 0);
        // SAFETY: both were just opened and belong to nobody else.
        unsafe { Terminal { person: File::from_raw_fd(person), program: OwnedFd::from_raw_fd(program) } }
    }

    /// Reads what the program shows until it ends with `text`.
    fn until(&mut self, shown: &mut String, text: &str) {
        while !shown.ends_with(text) {
            let mut bytes = [0; 256];
            let read = self.person.read(&mut bytes).unwrap();
            shown.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    fn is_shown(&self) -> bool {
        // SAFETY: a structure of numbers.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is that of a structure of ours.
        assert_eq!(unsafe { libc::tcgetattr(self.program.as_raw_fd(), &mut settings) }, 0);
        settings.c_lflag & libc::ECHO != 0
    }
}

/// Types two answers; shows the output and what stood on the terminal.
fn type_twice(answers: [&str; 2]) -> (Output, String) {
    let mut terminal = Terminal::open();
    let end = || Stdio::from(terminal.program.try_clone().unwrap());
    let child = command(&["alice"]).stdin(end()).stderr(end()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = String::new();
    for (question, answer) in ["Password: ", "Password again: "].into_iter().zip(answers) {
        terminal.until(&mut shown, question);
        assert!(!terminal.is_shown());
        terminal.person.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(terminal.is_shown(), "the terminal is as before");
    terminal.person.write_all(b"end").unwrap();
    terminal.until(&mut shown, "end");
    (output, shown)
}

#[test]
fn a_password_is_typed_twice_and_never_shown() {
    let (output, shown) = type_twice(["correct horse", "correct horse"]);
    assert!(output.status.success());
    assert!(verifies(&String::from_utf8(output.stdout).unwrap(), "alice", "correct horse"));
    assert_eq!(shown, "Password: \r\nPassword again: \r\nend");

    let (output, shown) = type_twice(["correct horse", "correct house"]);
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    assert!(shown.contains("found two different passwords, wanted the same twice"), "{shown}");
    assert!(!shown.contains("correct"), "{shown}");
}
