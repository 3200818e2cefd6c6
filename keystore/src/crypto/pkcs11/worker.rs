//! The process that has the module of a token: it reads requests from standard input and answers on standard output, until that
//! closes. See [`super::process`] for the other end.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::answer::RawSigner;
use super::key::{self, Pair, RawKey};
use super::wire::{ModuleReply, ModuleRequest, PinQuestion};
use super::{Pin, PinRequest, TokenError, objects, pin, token};

/// Calls that are under way at once. Network HSMs answer many at a time.
const THREADS: usize = 8;

/// Sets how much memory this process may take, in MiB.
const MEMORY_VARIABLE: &str = "OFFLINE_KSK_TOKEN_MEMORY";

/// Memory that this process may write to, in MiB. Modules take some ten; the largest of makers of network HSMs some hundred.
const MEMORY: u64 = 1024;

/// How long removing unused keys and the module's own end may take, once nobody listens any more.
const ENDING: Duration = Duration::from_secs(2);

/// Where questions to a person go, and the answers come from.
static PERSON: OnceLock<Person> = OnceLock::new();

struct Person {
    worker: Arc<Worker>,
    /// The answers; `None` when there is no PIN.
    pins: Mutex<Receiver<Option<Pin>>>,
}

thread_local! {
    /// The call that this thread works on.
    static CALL: Cell<u32> = const { Cell::new(0) };
}

struct Worker {
    replies: Mutex<File>,
    keys: Mutex<HashMap<u32, Arc<RawKey>>>,
    /// Key pairs that were made and neither kept nor removed yet, by the number of their private key.
    pairs: Mutex<HashMap<u32, Pair>>,
    next: AtomicU32,
}

/// Serves requests until standard input ends.
pub(super) fn run() -> ExitCode {
    let (mut requests, replies, pins) = match start() {
        Ok((requests, replies)) => (requests, replies, channel()),
        Err(error) => {
            eprintln!("the process for the PKCS#11 module cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let worker = Arc::new(Worker {
        replies: Mutex::new(replies),
        keys: Mutex::default(),
        pairs: Mutex::default(),
        next: AtomicU32::new(1),
    });
    // The reply to the call says what went wrong.
    std::panic::set_hook(Box::new(|_| {}));
    // This is the only place that sets it in this process.
    let _ = PERSON.set(Person { worker: Arc::clone(&worker), pins: Mutex::new(pins.1) });
    pin::set_prompt(ask_for_pin, tell_of_keypad);
    pin::set_login_notice(tell_of_login);
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build() else {
        eprintln!("the process for the PKCS#11 module cannot start its threads");
        return ExitCode::FAILURE;
    };
    serve(&mut requests, &worker, &pool, &pins.0);
    // Nobody listens any more. A module that hangs does not keep this process.
    std::thread::spawn(|| {
        std::thread::sleep(ENDING);
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    drop(std::mem::take(&mut *lock(&worker.pairs)));
    ExitCode::SUCCESS
}

/// Takes standard output for the replies alone: what a module prints itself must not come between them. Signals that a terminal or a
/// service manager sends to all processes are left to the program that started this one, whose end ends it.
fn start() -> io::Result<(File, File)> {
    crate::dumps::forbid()?;
    limit_memory()?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let replies = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    // Not the standard library's buffered input, in whose memory a PIN would stay.
    let requests = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    Ok((File::from(requests), File::from(replies)))
}

/// Keeps a module that allocates without end from taking the memory of the host: its allocations fail, or its process ends.
fn limit_memory() -> io::Result<()> {
    let set = std::env::var(MEMORY_VARIABLE).ok().and_then(|text| text.parse().ok());
    let most = set.filter(|mib| (64..=1 << 20).contains(mib)).unwrap_or(MEMORY) << 20;
    // Private memory is what malloc gives. Address space, which is shared memory and files too, has more room: libraries reserve much
    // of it that they never write to.
    for (resource, most) in [(Resource::Data, most), (Resource::As, most.saturating_mul(8))] {
        let hard = getrlimit(resource).maximum;
        let most = Some(hard.map_or(most, |hard| hard.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

fn serve(from: &mut impl Read, worker: &Arc<Worker>, pool: &rayon::ThreadPool, pins: &Sender<Option<Pin>>) {
    loop {
        // The end of the input, or a program of another version: nothing to serve in both cases.
        let Ok((call, request)) = ModuleRequest::read(from) else { return };
        if let ModuleRequest::Pin(pin) = request {
            // Its receiver lives as long as the process.
            let _ = pins.send(pin);
            continue;
        }
        let worker = Arc::clone(worker);
        pool.spawn(move || {
            CALL.set(call);
            // A module that counts wrong can have the code around it read past an end.
            let acted = std::panic::catch_unwind(AssertUnwindSafe(|| worker.act(request)));
            let reply = acted.unwrap_or_else(|_| Err(miscounted())).unwrap_or_else(ModuleReply::Failed);
            worker.send(call, &reply);
        });
    }
}

impl Worker {
    fn act(&self, request: ModuleRequest) -> Result<ModuleReply, TokenError> {
        match request {
            ModuleRequest::Load { uri, algorithm } => Ok(self.add(key::load(&uri, algorithm)?, None)),
            ModuleRequest::Generate { uri, algorithm, bits } => {
                let made = key::generate(&uri, algorithm, bits)?;
                let reply = self.add(made.key, Some(made.public_key));
                if let ModuleReply::Key { key, .. } = &reply {
                    lock(&self.pairs).insert(*key, made.pair);
                }
                Ok(reply)
            }
            ModuleRequest::Sign { key, data } => {
                let key = lock(&self.keys).get(&key).cloned();
                let key = key.ok_or_else(|| unknown("a key that this process has not opened"))?;
                Ok(ModuleReply::Signature(key.sign(&data)?))
            }
            ModuleRequest::Keep { key } => {
                let mut pair = lock(&self.pairs).remove(&key).ok_or_else(|| unknown("no such key pair"))?;
                pair.keep();
                Ok(ModuleReply::Done)
            }
            ModuleRequest::Remove { key } => {
                lock(&self.keys).remove(&key);
                let mut pair = lock(&self.pairs).remove(&key).ok_or_else(|| unknown("no such key pair"))?;
                pair.remove()?;
                Ok(ModuleReply::Done)
            }
            ModuleRequest::Look { uri } => token::look(&uri).map(|()| ModuleReply::Done),
            ModuleRequest::List { uri, from } => objects::list(&uri, from).map(ModuleReply::Holding),
            ModuleRequest::Forget { uri, part } => objects::forget(&uri, part).map(|()| ModuleReply::Done),
            ModuleRequest::Pin(_) => Err(unknown("a PIN that was not asked for")),
        }
    }

    /// Gives a key its number.
    fn add(&self, key: RawKey, public_key: Option<Vec<u8>>) -> ModuleReply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = key.token().to_owned();
        lock(&self.keys).insert(number, Arc::new(key));
        ModuleReply::Key { key: number, token, public_key }
    }

    fn send(&self, call: u32, reply: &ModuleReply) {
        let written = reply.write(call, &mut *lock(&self.replies));
        if written.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            let error = unknown("an answer that is longer than any signature or key");
            let _ = ModuleReply::Failed(error).write(call, &mut *lock(&self.replies));
        }
        // Any other error: the program is gone, and so is this process soon.
    }
}

/// Asks the person at the program that started this process.
fn ask_for_pin(request: &PinRequest<'_>) -> io::Result<Pin> {
    let Person { worker, pins } = PERSON.get().ok_or(io::ErrorKind::NotConnected)?;
    let question = PinQuestion {
        token: request.token.to_owned(),
        serial: request.serial.to_owned(),
        wrong_before: request.wrong_before,
        last_try: request.last_try,
    };
    let pins = lock(pins);
    worker.send(CALL.get(), &ModuleReply::AskPin(question));
    let answer = pins.recv().map_err(io::Error::other)?;
    answer.ok_or_else(|| io::Error::other("no PIN was given"))
}

/// Tells the program that the PIN goes to the token.
fn tell_of_login() {
    if let Some(Person { worker, .. }) = PERSON.get() {
        worker.send(CALL.get(), &ModuleReply::LoggingIn);
    }
}

/// Tells the person at the program that started this process to type the PIN at the token.
fn tell_of_keypad(token: &str) {
    if let Some(Person { worker, .. }) = PERSON.get() {
        worker.send(CALL.get(), &ModuleReply::AtToken { token: token.to_owned() });
    }
}

fn miscounted() -> TokenError {
    TokenError::Failed {
        token: String::new(),
        doing: "the call".into(),
        code: "the module gave lengths or numbers that do not fit its own answer".to_owned(),
    }
}

fn unknown(what: &'static str) -> TokenError {
    TokenError::BadAnswer { token: String::new(), what: what.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
