//! The few system calls that make, enter and furnish namespaces, and end the processes in them.
//!
//! All unsafe code of this crate is here, each call with its arguments checked by types.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;

use anyhow::Context;

/// Children started from now on live in a new process namespace; the first of them is its process 1. The caller can
/// start no thread afterwards.
pub(crate) fn give_children_a_process_namespace() -> anyhow::Result<()> {
    unshare(libc::CLONE_NEWPID).context("make a process namespace (this needs root)")
}

/// Moves this single-threaded process to new mount and network namespaces. No mount made later reaches the host.
pub(crate) fn enter_new_mount_and_network_namespaces() -> anyhow::Result<()> {
    unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET).context("make mount and network namespaces (this needs root)")?;
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)
}

/// Moves this single-threaded process to the network namespace of another process, and to a mount namespace of its own.
pub(crate) fn enter_network_namespace_of(process: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{process}/ns/net");
    let namespace = File::open(&path).with_context(|| format!("open {path} (this needs root)"))?;
    // SAFETY: setns takes no pointers; the descriptor lives until the end of this function.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).context("enter the network namespace")?;
    unshare(libc::CLONE_NEWNS).context("make a mount namespace")?;
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)
}

/// Shows `source` at `target` as well.
pub(crate) fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount(Some(source), target, None, libc::MS_BIND)
}

/// Mounts a new file system of a kind that needs no device, such as `proc` or `tmpfs`.
pub(crate) fn mount_new(kind: &str, target: &Path) -> anyhow::Result<()> {
    mount(Some(Path::new(kind)), target, Some(kind), 0)
}

fn mount(source: Option<&Path>, target: &Path, kind: Option<&str>, flags: libc::c_ulong) -> anyhow::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let source = source.map(text).transpose()?;
    let kind = kind.map(CString::new).transpose()?;
    let target_text = text(target)?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: every pointer is null or leads to a string with a final zero that outlives the call; no data is passed.
    let result = unsafe { libc::mount(pointer(&source), target_text.as_ptr(), pointer(&kind), flags, ptr::null()) };
    check(result).with_context(|| format!("mount on {}", target.display()))
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no pointers.
    check(unsafe { libc::unshare(flags) })
}

/// Ends a process (and with the first process of a process namespace all the others in it), and returns when the kernel
/// is done with all of them.
pub(crate) fn kill_and_wait(process: u32) -> anyhow::Result<()> {
    let process = libc::pid_t::try_from(process).context("a process id fits")?;
    // SAFETY: pidfd_open takes no pointers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    if descriptor < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) {
            Ok(())
        } else {
            Err(error).context("look at a process")
        };
    }
    let descriptor = libc::c_int::try_from(descriptor).expect("the kernel gives descriptors that fit");
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::kill(process, libc::SIGKILL) }).context("end a process")?;
    let mut poll = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one valid pollfd that outlives the call.
    while unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context("wait for a process to end");
        }
    }
    Ok(())
}

/// Waits for any child to end. The first process of a process namespace inherits the orphans in it.
pub(crate) fn reap_any_child() -> io::Result<(u32, ExitStatus)> {
    use std::os::unix::process::ExitStatusExt;
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        let process = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        match u32::try_from(process) {
            Ok(process) => return Ok((process, ExitStatus::from_raw(status))),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends what this process prints from now on to `file`, so that whoever reads its output sees the end of it.
pub(crate) fn redirect_standard_output(file: &File) -> io::Result<()> {
    // SAFETY: dup2 takes no pointers, and both descriptors are open.
    check(unsafe { libc::dup2(file.as_raw_fd(), libc::STDOUT_FILENO) })
}

/// True for the superuser.
#[must_use]
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::command;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn killing_returns_when_the_process_has_ended() {
        let mut child = command("sleep").arg("1000").spawn().unwrap();
        kill_and_wait(child.id()).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
