//! The calls of the C library by which files are made, written and synced, as the standard library of the broker uses
//! them. Each does what it is for by asking the kernel itself, and tells the mirror.
//!
//! A recorded sync does not reach the real disk: a process may die, the machine is not going to, and tests take less
//! time.

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void};
use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::mirror::{Inode, Mirror};

/// The variable that names the folder which is recorded.
const FROM: &str = "FULMAR_RECORDER_FROM";
/// The variable that names the folder in which what was synced is kept.
const TO: &str = "FULMAR_RECORDER_TO";

static MIRROR: OnceLock<Mutex<Mirror>> = OnceLock::new();

thread_local! {
    /// The mirror's own files are made and written by the same calls.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs before the program does, so that nothing is changed before.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    let (Some(from), Some(to)) = (std::env::var_os(FROM), std::env::var_os(TO)) else { return };
    let mirror = inside(|| Mirror::begin(Path::new(&from), Path::new(&to)));
    // Without its mirror a test would prove nothing.
    let mirror = mirror.unwrap_or_else(|_| std::process::abort());
    let _ = MIRROR.set(Mutex::new(mirror));
}

fn inside<T>(act: impl FnOnce() -> T) -> T {
    IS_INSIDE.set(true);
    let result = act();
    IS_INSIDE.set(false);
    result
}

/// Asks the mirror, unless there is none or it is itself who calls.
fn record<T>(act: impl FnOnce(&mut Mirror) -> Option<T>) -> Option<T> {
    let mirror = MIRROR.get()?;
    if IS_INSIDE.get() {
        return None;
    }
    // Whoever calls reads why its own call failed from here.
    // SAFETY: errno has a place in each thread.
    let errno = unsafe { *libc::__errno_location() };
    let result = inside(|| act(&mut mirror.lock().unwrap_or_else(PoisonError::into_inner)));
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    result
}

/// The inode behind a descriptor, if that is a file or folder; and the file, which stays open.
fn file_of(descriptor: c_int) -> Option<(ManuallyDrop<File>, Inode)> {
    // SAFETY: it is not closed by this, and whoever calls has it open.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    let metadata = file.metadata().ok()?;
    Some((file, Inode::of(&metadata)))
}

fn narrow(result: c_long) -> c_int {
    c_int::try_from(result).expect("a descriptor, zero or minus one")
}

/// # Safety
/// As `open`. The third argument is read only where the C library reads it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let makes = flags & libc::O_CREAT != 0;
    let may_change = makes || flags & libc::O_TRUNC != 0;
    // SAFETY: the caller hands over a string that ends.
    let name = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let was_there = record(|mirror| (may_change && mirror.has(name)).then(|| name.exists()));
    // SAFETY: the arguments are those of the caller.
    let descriptor = narrow(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) });
    if descriptor >= 0
        && let Some(was_there) = was_there
    {
        record(|mirror| {
            let (_, inode) = file_of(descriptor)?;
            if !was_there {
                mirror.made(inode);
            } else if flags & libc::O_TRUNC != 0 {
                mirror.cut(inode, 0);
            }
            Some(())
        });
    }
    descriptor
}

/// # Safety
/// As `mkdir`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkdir(path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: the arguments are those of the caller.
    let result = narrow(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) });
    if result == 0 {
        // SAFETY: the caller hands over a string that ends.
        let name = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
        record(|mirror| {
            let inode = Inode::of(&fs::metadata(name).ok().filter(|_| mirror.has(name))?);
            mirror.made(inode);
            Some(())
        });
    }
    result
}

fn written(descriptor: c_int, offset: Option<i64>, count: isize) {
    let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else { return };
    record(|mirror| {
        let (_, inode) = file_of(descriptor)?;
        let start = match offset {
            Some(offset) => u64::try_from(offset).ok()?,
            // SAFETY: it only tells where the descriptor stands.
            None => u64::try_from(unsafe { libc::lseek64(descriptor, 0, libc::SEEK_CUR) }).ok()?.checked_sub(count)?,
        };
        mirror.written(inode, start..start + count);
        Some(())
    });
}

/// # Safety
/// As `write`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the arguments are those of the caller.
    let result = unsafe { libc::syscall(libc::SYS_write, descriptor, bytes, count) } as isize;
    written(descriptor, None, result);
    result
}

/// # Safety
/// As `pwrite`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite64(descriptor: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the arguments are those of the caller.
    let result = unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, bytes, count, offset) } as isize;
    written(descriptor, Some(offset), result);
    result
}

/// # Safety
/// As `ftruncate`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ftruncate64(descriptor: c_int, length: i64) -> c_int {
    // SAFETY: the arguments are those of the caller.
    let result = narrow(unsafe { libc::syscall(libc::SYS_ftruncate, descriptor, length) });
    if result == 0 {
        record(|mirror| {
            let (_, inode) = file_of(descriptor)?;
            mirror.cut(inode, u64::try_from(length).ok()?);
            Some(())
        });
    }
    result
}

/// What is recorded is done with; anything else is the kernel's.
fn sync(descriptor: c_int, call: c_long) -> c_int {
    match record(|mirror| mirror.synced(&file_of(descriptor)?.0)) {
        Some(Ok(())) => 0,
        // Without its mirror a test would prove nothing.
        Some(Err(_)) => std::process::abort(),
        // SAFETY: it has no memory to look at.
        None => narrow(unsafe { libc::syscall(call, descriptor) }),
    }
}

/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fsync)
}

/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fdatasync)
}
