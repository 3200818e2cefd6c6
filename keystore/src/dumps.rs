//! Keeps private keys out of core dumps, and the memory of a program from the other processes of its user.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps of this process off, and with them ptrace(2) and /proc/PID/mem for whoever has no CAP_SYS_PTRACE. Called first
/// in every program that may hold a private key.
///
/// `PR_SET_DUMPABLE` holds for dumps that go to a program, too (`kernel.core_pattern` with a pipe, which ignores a limit of 0); the
/// limit also holds for the programs that this process starts.
pub fn forbid() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn kind_12_nothing_of_the_process_is_dumped_afterwards() {
        forbid().expect("two system calls that need no right");
        assert_eq!(dumpable_behavior().expect("a state"), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        forbid().expect("once more");
    }
}
