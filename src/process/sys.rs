//! The few system calls that Rust's safe libraries don't offer: what a child does between fork and exec (SUPERVISION §8),
//! `waitid`, whose status nix cannot represent for real-time signals, and what a pipe still holds.
//!
//! Everything a child needs is prepared before the fork, because afterwards only async-signal-safe calls are allowed: no
//! allocation, no lock, no panic. The step that failed travels to the parent inside the error number, the only thing
//! that the standard library hands over.

#![expect(
    unsafe_code,
    reason = "pre_exec, waitid and FIONREAD have no safe equivalent"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{self, Gid, Uid};

use super::Exit;

/// What the child does to itself before it becomes the server.
#[derive(Debug)]
pub(super) struct Plan {
    /// The pid of this process: a child that finds another parent was born too late and ends.
    pub(super) parent: i32,
    /// Bytes of address space, if limited.
    pub(super) memory: Option<u64>,
    /// Soft and hard limit of open files, if they are to change.
    pub(super) open_files: Option<(u64, u64)>,
    pub(super) nice: Option<i32>,
    /// What to write to `oom_score_adj`.
    pub(super) oom_score: Vec<u8>,
    pub(super) user: Option<Credentials>,
}

/// Whom the child becomes.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

/// A step of [`Plan`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Session = 1,
    Parent,
    Memory,
    OpenFiles,
    Nice,
    User,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Session,
        Self::Parent,
        Self::Memory,
        Self::OpenFiles,
        Self::Nice,
        Self::User,
    ];

    /// The error number of this step's failure: the step above the low 16 bits, errno in them.
    fn failed(self, errno: Errno) -> io::Error {
        io::Error::from_raw_os_error((self as i32) << 16 | errno as i32)
    }

    /// Takes apart what `failed` made; other errors come back without a step.
    pub(super) fn of(error: io::Error) -> (Option<Self>, io::Error) {
        let Some(code) = error.raw_os_error() else {
            return (None, error);
        };
        let step = Self::ALL
            .into_iter()
            .find(|step| *step as i32 == code >> 16);
        match step {
            Some(_) => (step, io::Error::from_raw_os_error(code & 0xffff)),
            None => (None, error),
        }
    }
}

/// Has `command` carry out `plan` after the fork.
pub(super) fn prepare(command: &mut Command, plan: Plan) {
    // SAFETY: `Plan::apply` allocates nothing, takes no lock and makes only async-signal-safe calls.
    unsafe {
        command.pre_exec(move || plan.apply());
    }
}

impl Plan {
    /// Runs in the forked child.
    fn apply(&self) -> io::Result<()> {
        unistd::setsid().map_err(|errno| Step::Session.failed(errno))?;
        default_signals();
        self.write_oom_score();
        if let Some(bytes) = self.memory {
            setrlimit(Resource::RLIMIT_AS, bytes, bytes)
                .map_err(|errno| Step::Memory.failed(errno))?;
        }
        if let Some((soft, hard)) = self.open_files {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
                .map_err(|errno| Step::OpenFiles.failed(errno))?;
        }
        if let Some(nice) = self.nice {
            // SAFETY: no pointers.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } == -1 {
                return Err(Step::Nice.failed(Errno::last()));
            }
        }
        if let Some(user) = &self.user {
            unistd::setgroups(&user.groups)
                .and_then(|()| unistd::setgid(user.gid))
                .and_then(|()| unistd::setuid(user.uid))
                .map_err(|errno| Step::User.failed(errno))?;
        }
        close_on_exec();
        // After the change of user, which clears it. A parent that died before this call is seen by the check after it.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| Step::Parent.failed(errno))?;
        if unistd::getppid().as_raw() != self.parent {
            return Err(Step::Parent.failed(Errno::ESRCH));
        }
        Ok(())
    }

    /// Failure is of no consequence: the child is then as likely a victim as this process.
    fn write_oom_score(&self) {
        // SAFETY: a constant C string, and a buffer that outlives the call.
        unsafe {
            let fd = libc::open(
                c"/proc/self/oom_score_adj".as_ptr(),
                libc::O_WRONLY | libc::O_CLOEXEC,
            );
            if fd >= 0 {
                libc::write(fd, self.oom_score.as_ptr().cast(), self.oom_score.len());
                libc::close(fd);
            }
        }
    }
}

/// Undoes ignored signals and the signal mask, both of which an exec passes on.
fn default_signals() {
    // SAFETY: `set` is initialised by sigemptyset before it is read; the other calls have no pointers. Numbers that the
    // C library keeps for itself are refused by it.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Marks every descriptor above stderr, also those that were inherited from whoever started this process.
fn close_on_exec() {
    // SAFETY: no pointers.
    unsafe {
        let all = libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        if all == -1 {
            // Linux before 5.11, or a seccomp filter from before then. Ours are marked anyway; what was inherited has
            // low numbers.
            for fd in 3..1024 {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// How the child `pid` ended, if it has. It stays a zombie, so that its number is not given to another process.
pub(super) fn ended(pid: i32) -> Option<Exit> {
    wait(libc::P_PID, pid, libc::WNOWAIT).map(|(_, exit)| exit)
}

/// Frees the zombie `pid`.
pub(super) fn reap(pid: i32) {
    wait(libc::P_PID, pid, 0);
}

/// A child that is a zombie, whichever comes first.
pub(super) fn any_zombie() -> Option<i32> {
    wait(libc::P_ALL, 0, libc::WNOWAIT).map(|(pid, _)| pid)
}

fn wait(kind: libc::idtype_t, id: i32, flags: i32) -> Option<(i32, Exit)> {
    // SAFETY: `info` outlives the call; all zeroes is a valid siginfo_t, and waitid leaves si_pid 0 when no child has
    // ended. si_pid and si_status are the fields of a SIGCHLD.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | flags;
        let result = libc::waitid(kind, id.cast_unsigned(), &mut info, flags);
        if result != 0 || info.si_pid() == 0 {
            return None;
        }
        let exit = match info.si_code {
            libc::CLD_EXITED => Exit::Code(info.si_status()),
            _ => Exit::Signal(info.si_status()),
        };
        Some((info.si_pid(), exit))
    }
}

/// Bytes written into `pipe` that nobody has read, also once nobody can any more.
pub(super) fn unread(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and `count` outlives the call, which writes one c_int.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The groups that a login of `name` would have.
pub(super) fn groups_of(name: &str, gid: Gid) -> io::Result<Vec<Gid>> {
    let name = CString::new(name).map_err(io::Error::other)?;
    Ok(unistd::getgrouplist(&name, gid)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_read_is_counted_also_when_nobody_can_any_more() {
        use std::io::{Read, Write};
        use std::os::fd::AsFd;
        let (mut reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"hello").unwrap();
        assert_eq!(unread(writer.as_fd()).unwrap(), 5);
        reader.read_exact(&mut [0; 2]).unwrap();
        drop(reader);
        assert_eq!(unread(writer.as_fd()).unwrap(), 3);
    }

    #[test]
    fn a_failed_step_survives_the_way_through_the_error_number() {
        for step in Step::ALL {
            let (found, error) = Step::of(step.failed(Errno::EPERM));
            assert_eq!(found, Some(step));
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        let (step, error) = Step::of(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(step, None);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
