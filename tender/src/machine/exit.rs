//! Why a machine came back.

use coracle_hypercall::error::CallError;

/// Why a guest came back to the tender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The guest made a hypercall; number and arguments are in its registers.
    Hypercall,
    /// The guest's instruction has faulted.
    Fault {
        /// The exception vector.
        vector: u8,
    },
    /// The guest used a port that is not there.
    Port {
        /// Its number.
        port: u16,
        /// The bytes it moved.
        width: u8,
        /// Whether it wrote.
        write: bool,
    },
    /// It was told to come back, or a signal arrived.
    Kicked,
    /// It cannot go on.
    Dead(Dead),
}

/// Why a vCPU cannot go on. A guest that is what the tender takes it to be never gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dead {
    /// A fault could not be delivered.
    #[error("the vCPU shut down: a fault could not be delivered to the stub (KVM_EXIT_SHUTDOWN)")]
    Shutdown,
    /// The CPU refused the vCPU's state.
    #[error(
        "the CPU refused the vCPU's state, hardware reason {0:#x} (KVM_EXIT_FAIL_ENTRY; \
             ARCHITECTURE.md says what the CPU checks)"
    )]
    Refused(u64),
    /// KVM could not carry out an instruction.
    #[error("KVM could not go on, suberror {0} (KVM_EXIT_INTERNAL_ERROR)")]
    Internal(u32),
    /// The guest reached a guest-physical address without memory.
    #[error("the guest reached guest-physical address {0:#x}, where there is no memory (KVM_EXIT_MMIO)")]
    NoMemory(u64),
    /// The host could not back the guest's memory.
    #[error(
        "the host could not back the guest's memory: it has run out of it, or the backing file was cut short"
    )]
    HostMemory,
    /// An exit that the tender has no use for.
    #[error("the vCPU came back for a reason that the tender does not know ({0})")]
    Unexpected(u32),
    /// The stub itself faulted.
    #[error("the stub faulted with vector {0}, which is a mistake in Coracle: please report it")]
    InStub(u8),
    /// The guest cannot be told what to work on.
    #[error(
        "cannot hand the guest its input ({0}): the host has no random bytes, or the snapshot's file was cut"
    )]
    Invocation(CallError),
    /// What the guest's last run has left could not be taken back.
    #[error("the guest's last run could not be undone")]
    Unclean,
    /// Page-table entries that the guest has asked to be changed could not be.
    #[error("cannot change rights of the guest's memory: {}", std::io::Error::from_raw_os_error(*.0))]
    Tables(i32),
    /// There is no timer that could stop the guest.
    #[error(
        "the host has no timer for this thread: {} (ulimit -i bounds how many a user may have)",
        std::io::Error::from_raw_os_error(*.0)
    )]
    NoTimer(i32),
    /// The process that ran the guest is no more.
    #[error("the guest's process {}", ended(*.0))]
    Process(i32),
    /// Somebody else was told how the process that ran the guest is.
    #[error(
        "another part of this program has waited for the guest's process, by waitpid(-1) or the like, so that \
         nobody knows how that is: it must wait for its own children alone"
    )]
    Reaped,
    /// There is no process to run the guest in.
    #[error("the kernel refused to {0}: {err}", err = std::io::Error::from_raw_os_error(*.1))]
    NoProcess(&'static str, i32),
    /// A request of ptrace failed.
    #[error("cannot trace the guest's process: {}", std::io::Error::from_raw_os_error(*.0))]
    Tracing(i32),
    /// KVM_RUN itself failed.
    #[error("KVM_RUN failed: {}", std::io::Error::from_raw_os_error(*.0))]
    Run(i32),
}

/// How a process ended that has this wait status (wait(2)), after its name.
pub(crate) fn ended(status: i32) -> String {
    const KILLED: &str = ": perhaps the host is out of memory (`dmesg` says so), or somebody has ended it";
    if libc::WIFEXITED(status) {
        return format!("ended by itself with status {}", libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    let name = match signal {
        libc::SIGKILL => return format!("was killed by SIGKILL{KILLED}"),
        libc::SIGSYS => "SIGSYS (a system call that a filter forbids)".to_owned(),
        libc::SIGSEGV => "SIGSEGV".to_owned(),
        libc::SIGBUS => "SIGBUS".to_owned(),
        libc::SIGILL => "SIGILL".to_owned(),
        libc::SIGFPE => "SIGFPE".to_owned(),
        libc::SIGTRAP => "SIGTRAP".to_owned(),
        libc::SIGABRT => "SIGABRT".to_owned(),
        libc::SIGTERM => "SIGTERM".to_owned(),
        libc::SIGXCPU => "SIGXCPU: its time of the CPU is limited (ulimit -t)".to_owned(),
        other => format!("signal {other}"),
    };
    format!("was killed by {name}")
}

#[cfg(test)]
mod tests {
    use super::{Dead, ended};

    #[test]
    fn how_a_process_ended_is_said_in_words() {
        let killed = Dead::Process(libc::SIGKILL).to_string();
        assert!(
            killed
                .starts_with("the guest's process was killed by SIGKILL: perhaps the host is out of memory")
        );
        assert_eq!(ended(3 << 8), "ended by itself with status 3");
        assert!(ended(libc::SIGSYS).contains("a system call that a filter forbids"));
        assert_eq!(ended(libc::SIGSEGV | 0x80), "was killed by SIGSEGV");
        assert_eq!(ended(40), "was killed by signal 40");
    }
}
