//! Runs a target on inputs within bounds of memory and time, as the fuzzer does: an input that needs more is a finding, and one that never
//! ends is one as well, in place of a test that never ends.

use std::panic::catch_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::targets::memory_limit;

/// How long one input may take. The fuzzer gives it 10 seconds, optimised and alone; here it is neither.
pub const LONGEST: Duration = Duration::from_secs(60);

/// What does not hold, and for which input.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub input: Vec<u8>,
    pub breach: Breach,
}

/// What does not hold of an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Breach {
    /// The target panicked; the message of the panic says why.
    Panic,
    /// It held more octets at once than it may. Those that other threads took for it are not counted.
    Memory { held: u64, limit: u64 },
    /// It did not end in time.
    Hang,
}

enum Step {
    Begun(Vec<u8>),
    Ended(Result<bool, Breach>),
}

/// Runs the target on each input in a thread of its own, up to the first finding. Gives for each input whether it was read to its end.
pub fn run(
    target: fn(&[u8]) -> bool,
    inputs: impl Iterator<Item = Vec<u8>> + Send + 'static,
    longest: Duration,
) -> Result<Vec<bool>, Finding> {
    let (told, steps) = channel();
    std::thread::spawn(move || {
        for input in inputs {
            let limit = memory_limit(input.len()) as u64;
            // Nobody listens any more after a finding.
            if told.send(Step::Begun(input.clone())).is_err() {
                return;
            }
            let mut outcome = Err(Breach::Panic);
            let memory = allocation_counter::measure(|| {
                outcome = catch_unwind(|| target(&input)).map_err(|_| Breach::Panic);
            });
            // The message of a panic takes memory of its own.
            if outcome.is_ok() && memory.bytes_max > limit {
                outcome = Err(Breach::Memory { held: memory.bytes_max, limit });
            }
            let _ = told.send(Step::Ended(outcome));
        }
    });
    let (mut current, mut read) = (Vec::new(), Vec::new());
    loop {
        match steps.recv_timeout(longest) {
            Ok(Step::Begun(input)) => current = input,
            Ok(Step::Ended(Ok(is_read))) => read.push(is_read),
            Ok(Step::Ended(Err(breach))) => return Err(Finding { input: current, breach }),
            Err(RecvTimeoutError::Timeout) => return Err(Finding { input: current, breach: Breach::Hang }),
            Err(RecvTimeoutError::Disconnected) => return Ok(read),
        }
    }
}

#[test]
fn target_that_panics_hangs_or_takes_too_much_memory_is_a_finding_with_its_input() {
    fn bad(input: &[u8]) -> bool {
        match input {
            b"panics" => panic!("as it should"),
            b"hangs" => loop {
                std::thread::park();
            },
            b"takes" => !vec![1u8; memory_limit(input.len()) + 1].is_empty(),
            b"takes little" => vec![1u8; memory_limit(input.len()) / 2].is_empty(),
            _ => true,
        }
    }
    let limit = memory_limit(5) as u64;
    let inputs = |last: &str| ["good", "takes little", last].map(|text| text.as_bytes().to_vec()).into_iter();
    assert_eq!(run(bad, inputs("good"), LONGEST), Ok(vec![true, false, true]));
    for (input, longest, breach) in [
        ("panics", LONGEST, Breach::Panic),
        ("takes", LONGEST, Breach::Memory { held: limit + 1, limit }),
        ("hangs", Duration::from_secs(1), Breach::Hang),
    ] {
        assert_eq!(run(bad, inputs(input), longest), Err(Finding { input: input.into(), breach }));
    }
}
