//! The first process of a namespace of processes: it sees none but its own, and all of them end with it.
//!
//! `/proc` shows the namespace of whoever mounts it, so the process mounts it itself before it becomes the
//! container's program. The standard library could do that only after copying this whole process; here the child
//! borrows its memory, as with `posix_spawn`.
#![allow(unsafe_code, reason = "the C library's clone and execve; each use says why it holds")]

use std::{
    ffi::{CString, OsString, c_char, c_int, c_void},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
    ptr,
};

use rustix::process::Pid;

/// Bytes of stack for what happens before the program runs: a few system calls, each shallow.
const STACK: usize = 64 << 10;
/// Signals have numbers up to this one.
const LAST_SIGNAL: c_int = 64;
/// What the child ends with when the program could not be run; nobody reads it.
const FAILED: c_int = 127;

/// A program, put down as the kernel takes it.
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    directory: CString,
}

impl Program {
    /// `path` is the program as the process will see it, and the first of its arguments.
    ///
    /// # Errors
    /// When a text has a zero byte in it.
    pub fn new(
        path: &Path,
        args: &[OsString],
        env: &[(OsString, OsString)],
        directory: &Path,
    ) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())?;
        let rest = args.iter().map(|it| CString::new(it.as_encoded_bytes()));
        let env = env.iter().map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            CString::new(pair.into_vec())
        });
        Ok(Self {
            args: std::iter::once(Ok(path.clone())).chain(rest).collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            directory: CString::new(directory.as_os_str().as_encoded_bytes())?,
            path,
        })
    }
}

/// What the child needs, in memory that it shares with the thread that waits for it.
struct Start<'a> {
    program: &'a Program,
    /// Both ending with a null pointer.
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    prepare: &'a dyn Fn() -> io::Result<()>,
    failed: Option<io::Error>,
}

/// Starts `program` with `output` for standard output and standard error, nothing for standard input, and as the
/// leader of a group of its own. Before, the new process runs `prepare`: it must not allocate anything that it does
/// not free, wait for a lock, or panic, for the calling thread stands still meanwhile.
///
/// The new process is in the namespaces of the calling thread; after `unshare` of the namespace of processes it is
/// the first of the new one.
pub fn start(
    program: &Program,
    output: BorrowedFd,
    prepare: &dyn Fn() -> io::Result<()>,
) -> io::Result<Pid> {
    let input = std::fs::File::open("/dev/null")?;
    let pointers = |texts: &[CString]| {
        texts.iter().map(|it| it.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>()
    };
    let mut start = Start {
        program,
        args: pointers(&program.args),
        env: pointers(&program.env),
        input: input.as_fd(),
        output,
        prepare,
        failed: None,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let data = (&raw mut start).cast::<c_void>();
    // SAFETY: sets of signals are plain numbers; no handler of ours may run in the child, on whose behalf it is not.
    let before = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    // SAFETY: the stack is the child's alone, aligned, and given by its upper end; with VFORK this thread stands
    // still until the child has left `start` and `stack`, by running its program or by its end.
    let (pid, error) = unsafe {
        let pid = libc::clone(child, stack.as_mut_ptr_range().end.cast(), flags, data);
        (pid, io::Error::last_os_error())
    };
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    let pid = if pid > 0 { Pid::from_raw(pid) } else { None };
    let pid = pid.ok_or(error)?;
    match start.failed {
        None => Ok(pid),
        Some(error) => {
            // It has ended; its entry in the process table is left to remove.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(error)
        }
    }
}

extern "C" fn child(data: *mut c_void) -> c_int {
    // SAFETY: `start` gives its own `Start`, which lives until this process has run its program or ended, and does
    // not look at it meanwhile.
    let start = unsafe { &mut *data.cast::<Start>() };
    start.failed = Some(start.become_program());
    FAILED
}

impl Start<'_> {
    /// Returns only with the reason why it could not.
    fn become_program(&self) -> io::Error {
        match self.prepared() {
            Err(error) => error,
            Ok(()) => {
                // SAFETY: the path and both lists end with zeros and live in `self`.
                unsafe {
                    libc::execve(self.program.path.as_ptr(), self.args.as_ptr(), self.env.as_ptr())
                };
                io::Error::last_os_error()
            }
        }
    }

    fn prepared(&self) -> io::Result<()> {
        (self.prepare)()?;
        rustix::stdio::dup2_stdin(self.input)?;
        rustix::stdio::dup2_stdout(self.output)?;
        rustix::stdio::dup2_stderr(self.output)?;
        rustix::process::setpgid(None, None)?;
        rustix::process::chdir(self.program.directory.as_c_str())?;
        // SAFETY: this process has its own list of handlers and its own mask, and none of ours is needed in it.
        unsafe {
            for signal in 1..=LAST_SIGNAL {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        }
        Ok(())
    }
}
