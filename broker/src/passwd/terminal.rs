//! A question on the terminal whose answer is not shown.

use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;

use anyhow::Context;

/// Asks on standard error, so that standard output holds the line alone, and reads a line of standard input.
pub(super) fn ask(question: &str) -> anyhow::Result<Vec<u8>> {
    let mut errors = io::stderr();
    let mut answer = Vec::new();
    let is_hidden = Hidden::new().context("keep the terminal from showing the password")?;
    errors.write_all(question.as_bytes()).and_then(|()| errors.flush()).context("ask for the password")?;
    let read = io::stdin().lock().read_until(b'\n', &mut answer);
    drop(is_hidden);
    // The end of the line was not shown either.
    let _ = errors.write_all(b"\n");
    read.context("read the password from the terminal")?;
    if answer.last() == Some(&b'\n') {
        answer.pop();
    }
    Ok(answer)
}

/// While it is there, the terminal at standard input shows nothing that is typed. A shell puts its terminal in order
/// itself after a program that a signal ended.
struct Hidden {
    before: libc::termios,
}

impl Hidden {
    fn new() -> io::Result<Hidden> {
        let descriptor = io::stdin().as_raw_fd();
        // SAFETY: a structure of numbers, which tcgetattr fills.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is that of a structure of ours.
        if unsafe { libc::tcgetattr(descriptor, &raw mut settings) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let hidden = Hidden { before: settings };
        settings.c_lflag &= !libc::ECHO;
        // What was typed before the question is dropped: it was shown.
        // SAFETY: the pointer is that of a structure of ours.
        if unsafe { libc::tcsetattr(descriptor, libc::TCSAFLUSH, &raw const settings) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(hidden)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell, and a terminal that is gone needs no order.
        // SAFETY: the pointer is that of a structure of ours.
        let _ = unsafe { libc::tcsetattr(io::stdin().as_raw_fd(), libc::TCSANOW, &raw const self.before) };
    }
}
