//! The side that answers. Each connection has a thread of its own, a bounded time and a bounded size; the loader's loop is asked only
//! for whole, checked requests, so that a slow or hostile client keeps nobody waiting.
//!
//! **Invariant:** only the owner and the group of the socket can connect; what changes the store is done for root and for the user of
//! this process alone, as the kernel names the other side (`SO_PEERCRED`).
//! **Invariant:** whoever holds the lock of the state folder owns its socket: a socket that is found there is of one that is gone.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keystore::config::{Config, note_control_socket};
use keystore::crypto::cms;
use keystore::exchange::many;
use metrics::health::watch::HealthWatch;

use super::job::LoaderJob;
use super::{ControlAnswer, ControlRequest};
use crate::files::one_line;
use crate::loader::Control;
use crate::user::User;

/// Connections at once, of one user and of all.
const PER_USER: usize = 8;
const IN_ALL: usize = 64;
/// Octets of a request, of those who may send files and of others.
const MAX_REQUEST: usize = 64 << 10;
/// Time in which the whole request must have come, and the whole answer must have gone.
const READ_TIME: Duration = Duration::from_secs(5);
const FILE_TIME: Duration = Duration::from_secs(60);
const WRITE_TIME: Duration = Duration::from_secs(20);

/// How long a status may wait for a look at the files; with many zones it shows the last one.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// Octets of the path of a socket, less its closing NUL (`sun_path` in unix(7)).
const MAX_PATH: usize = 107;

/// Reads the configuration again and hands it to every part.
pub type Reload = Arc<dyn Fn() -> ControlAnswer + Send + Sync>;

/// What a command can ask beside the loader's own loop, which may be busy for long.
pub struct Answers {
    /// Reads the configuration again.
    pub reload: Reload,
    /// The watch of the health of this host.
    pub health: Arc<HealthWatch>,
}

/// The socket, as long as this lives.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    /// Device and inode of the socket, so that only our own is removed.
    socket: (u64, u64),
    listener: Arc<UnixListener>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no socket. The loader works without one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Error of the system call that failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// `control-group` names none.
    #[error("control-group: there is no group {0}")]
    NoGroup(String),
    /// It cannot be given to the group.
    #[error("control-group: cannot give {} to {group} ({source}); make this user a member of it (SupplementaryGroups= in the unit)", path.display())]
    Group {
        /// The socket.
        path: PathBuf,
        /// The group.
        group: String,
        /// Error of the system call that failed.
        source: io::Error,
    },
    /// The kernel takes no such name.
    #[error("{}: the path of a socket has at most {MAX_PATH} octets; set control-socket", .0.display())]
    LongPath(PathBuf),
    /// Others could put their own socket in its place.
    #[error("{}: others can write to this folder (mode {mode:04o}); put control-socket where only this user can", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl ControlServer {
    /// Listens, and answers until it is dropped. The caller holds the lock of the state folder.
    pub fn start(config: &Config, control: Control, answers: Answers) -> Result<Self, ServeError> {
        let path = config.control_socket();
        // Before anybody can be answered.
        if let Err(error) = note_control_socket(&config.state_dir, &path) {
            tracing::warn!(%error, socket = %path.display(), "cannot note in accepted/ where the socket is: commands need --socket");
        }
        let listener = Arc::new(bind(&path, config.loader.control_group.as_deref())?);
        let io = |source| ServeError::Io { path: path.clone(), source };
        let metadata = fs::symlink_metadata(&path).map_err(io)?;
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = (Arc::clone(&listener), Arc::clone(&stop));
        let file_limit = file_limit(config.zones.len());
        let handler =
            Arc::new(RequestHandler { control, answers, file_limit, connections: Mutex::default() });
        let thread = thread::Builder::new().name("control".to_owned());
        let thread = thread.spawn(move || accept(&accepting.0, &accepting.1, &handler)).map_err(io)?;
        tracing::info!(socket = %path.display(), "commands are taken");
        Ok(Self { socket: (metadata.dev(), metadata.ino()), path, listener, stop, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.socket) {
            // One that stays is replaced by the next loader.
            let _ = fs::remove_file(&self.path);
        }
        // Wakes the thread from its wait for the next connection.
        let woken = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic there has been told by its own message.
            let _ = thread.join();
        }
    }
}

/// Binds under a name of its own, and renames when mode and group are right: nobody can connect before, and a socket that was left
/// there is replaced at once.
fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, ServeError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::Io { path, source }
    };
    let gid = match group {
        None => None,
        Some(name) => match nix::unistd::Group::from_name(name) {
            Ok(Some(group)) => Some(group.gid.as_raw()),
            Ok(None) => return Err(ServeError::NoGroup(name.to_owned())),
            Err(errno) => return Err(at(path)(errno.into())),
        },
    };
    let give = |path: &Path| match gid {
        Some(gid) if fs::symlink_metadata(path).is_ok_and(|m| m.gid() == gid) => Ok(()),
        Some(gid) => chown(path, None, Some(gid)).map_err(|source| ServeError::Group {
            path: path.to_owned(),
            group: group.unwrap_or_default().to_owned(),
            source,
        }),
        None => Ok(()),
    };
    if path.as_os_str().len() > MAX_PATH {
        return Err(ServeError::LongPath(path.to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        keystore::durable::create_dir_durable(folder, 0o750).map_err(at(folder))?;
        give(folder)?;
    }
    let metadata = fs::metadata(folder).map_err(at(folder))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(ServeError::Folder { path: folder.to_owned(), mode });
    }
    remove_asides(folder);
    // Short: the kernel takes no long names. By chance, so that nobody can take the name first. A folder that nobody else can enter, whatever
    // the umask is.
    let chance = RandomState::new().build_hasher().finish();
    let aside = folder.join(format!("{ASIDE}{:06x}", chance & 0xff_ffff));
    fs::create_dir(&aside).map_err(at(&aside))?;
    let made = (|| {
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o700)).map_err(at(&aside))?;
        let new = aside.join("s");
        let listener = UnixListener::bind(&new).map_err(at(&new))?;
        give(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o660)).map_err(at(&new))?;
        fs::rename(&new, path).map_err(at(path))?;
        Ok(listener)
    })();
    let _ = fs::remove_dir_all(&aside);
    made
}

/// How the folders begin in which sockets are made.
const ASIDE: &str = ".ctl";

/// Removes the folders of our own that killed processes have left. What others have put under such names stays.
fn remove_asides(folder: &Path) {
    let ours = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_aside = entry.file_name().as_bytes().starts_with(ASIDE.as_bytes());
        if is_aside && entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == ours) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Octets of a request with a file that the inbox would take, and its signature, in base64.
fn file_limit(zones: usize) -> usize {
    let files = many::max_octets(zones).saturating_add(cms::MAX_SIGNATURE_OCTETS);
    MAX_REQUEST + usize::try_from(files).unwrap_or(usize::MAX / 2).div_ceil(3) * 4
}

/// Carries out the requests of all connections.
struct RequestHandler {
    control: Control,
    answers: Answers,
    /// Octets of a request of those who may send files.
    file_limit: usize,
    connections: Mutex<ConnectionLimiter>,
}

/// The connections that are open, and how many there may be.
#[derive(Default)]
struct ConnectionLimiter {
    next: u64,
    open: Vec<Connection>,
}

struct Connection {
    number: u64,
    uid: u32,
    /// Its request has not come yet: it may be closed to make room for another connection.
    waiting: bool,
    stream: UnixStream,
}

impl ConnectionLimiter {
    /// Takes a connection, and closes the oldest that has not asked yet where there are too many. `None` = all of them are being served.
    fn admit(&mut self, uid: u32, stream: UnixStream) -> Option<u64> {
        let of = |uid: u32| move |connection: &Connection| connection.uid == uid;
        if self.open.iter().filter(|g| g.uid == uid).count() >= PER_USER {
            self.close_oldest(of(uid))?;
        } else if self.open.len() >= IN_ALL {
            // The user with the most connections pays.
            let count = |uid: u32| self.open.iter().filter(|g| g.uid == uid).count();
            let most = self.open.iter().map(|g| g.uid).max_by_key(|uid| count(*uid))?;
            self.close_oldest(of(most))?;
        }
        self.next += 1;
        self.open.push(Connection { number: self.next, uid, waiting: true, stream });
        Some(self.next)
    }

    fn close_oldest(&mut self, whose: impl Fn(&Connection) -> bool) -> Option<()> {
        let oldest = self.open.iter().position(|connection| connection.waiting && whose(connection))?;
        let connection = self.open.remove(oldest);
        // Its thread sees the end of the request.
        let _ = connection.stream.shutdown(Shutdown::Both);
        Some(())
    }

    /// Takes note that its request has come. False when the connection was closed before.
    fn note_request(&mut self, number: u64) -> bool {
        let connection = self.open.iter_mut().find(|connection| connection.number == number);
        connection.map(|connection| connection.waiting = false).is_some()
    }

    fn remove(&mut self, number: u64) {
        self.open.retain(|connection| connection.number != number);
    }
}

impl RequestHandler {
    fn connections(&self) -> std::sync::MutexGuard<'_, ConnectionLimiter> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &UnixListener, stop: &AtomicBool, handler: &Arc<RequestHandler>) {
    while !stop.load(Ordering::Relaxed) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if stop.load(Ordering::Relaxed) => return,
            Err(error) => {
                tracing::error!(%error, "cannot take a command");
                // Such as no descriptor free; no busy loop meanwhile.
                thread::sleep(Duration::from_millis(200));
                continue;
            }
        };
        if let Err(error) = take(stream, handler) {
            tracing::warn!(%error, "a command was not taken");
        }
    }
}

fn take(stream: UnixStream, handler: &Arc<RequestHandler>) -> io::Result<()> {
    let uid = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
    let Some(number) = handler.connections().admit(uid, stream.try_clone()?) else {
        stream.set_nonblocking(true)?;
        return answer(
            &stream,
            &ControlAnswer::refused("too many commands at once; try again"),
            Instant::now(),
        );
    };
    let handling = Arc::clone(handler);
    let thread = thread::Builder::new().name("command".to_owned());
    let spawned = thread.spawn(move || {
        serve(&stream, uid, number, &handling);
        handling.connections().remove(number);
    });
    spawned.map(|_| ()).inspect_err(|_| handler.connections().remove(number))
}

fn serve(stream: &UnixStream, uid: u32, number: u64, handler: &RequestHandler) {
    let ours = uid == 0 || uid == rustix::process::geteuid().as_raw();
    let (limit, time) = if ours { (handler.file_limit, FILE_TIME) } else { (MAX_REQUEST, READ_TIME) };
    let said = match read_line(stream, limit, time) {
        // It said nothing, or was closed.
        Ok(line) if line.is_empty() || !handler.connections().note_request(number) => return,
        Ok(line) => match serde_json::from_slice::<ControlRequest>(&line) {
            Ok(request) if request.is_privileged() && !ours => {
                let who = User::of(uid);
                tracing::warn!(%who, "a command was refused: only root and the user of the loader may give it");
                ControlAnswer::refused(format!(
                    "{who} may not do this: only root and the user of the loader may (try sudo)"
                ))
            }
            Ok(request) => {
                drop(line);
                act(request, uid, handler)
            }
            Err(error) => {
                ControlAnswer::refused(format!("the request does not read: {}", one_line(&error.to_string())))
            }
        },
        Err(error) => ControlAnswer::refused(format!("the request does not read: {error}")),
    };
    if let Err(error) = answer(stream, &said, Instant::now() + WRITE_TIME) {
        tracing::debug!(%error, "an answer was not taken");
    }
}

/// Up to the first line end, or the end.
fn read_line(mut stream: &UnixStream, limit: usize, time: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + time;
    let (mut line, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let n = match stream.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => return Err(late()),
            Err(error) => return Err(error),
        };
        let (taken, ended) = match buffer[..n].iter().position(|b| *b == b'\n') {
            Some(end) => (end, true),
            None => (n, n == 0),
        };
        line.extend_from_slice(&buffer[..taken]);
        if line.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {limit} octets; only root and the user of the loader may send files"),
            ));
        }
        if ended {
            return Ok(line);
        }
    }
}

fn answer(mut stream: &UnixStream, answer: &ControlAnswer, until: Instant) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut rest = &line[..];
    while !rest.is_empty() {
        if let Ok(left) = left(until) {
            stream.set_write_timeout(Some(left))?;
        } else if rest.len() < line.len() {
            return Err(late());
        }
        // In pieces, so that one that takes an octet at a time comes to its end.
        match stream.write(&rest[..rest.len().min(64 << 10)]) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

/// Does what is asked.
fn act(request: ControlRequest, uid: u32, handler: &RequestHandler) -> ControlAnswer {
    match LoaderJob::new(request, User::of(uid)) {
        Err(error) => ControlAnswer::refused(error.to_string()),
        Ok(LoaderJob::Reload) => (handler.answers.reload)(),
        Ok(LoaderJob::Status(zones)) => {
            let health = handler.answers.health.look_now(LOOK_TIME);
            let health = if zones.is_empty() { health.without_details() } else { health.only(&zones) };
            ControlAnswer::Status(Box::new(health))
        }
        Ok(job) => handler
            .control
            .ask(move |loader, now, reply| job.begin(loader, now, reply))
            .unwrap_or_else(|| ControlAnswer::refused("the loader is stopping, or very busy; try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_12_the_control_socket_takes_what_the_inbox_takes() {
        for (zones, at_most) in [(1, 12 << 20), (10, 16 << 20)] {
            let octets = usize::try_from(many::max_octets(zones)).unwrap();
            let limit = file_limit(zones);
            assert!(limit > octets * 4 / 3 && limit < octets * 4 / 3 + (1 << 20), "{zones}: {limit}");
            assert!(zones > 1 || limit < at_most, "{zones}: {limit}");
        }
    }

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn one_user_s_connections_send_away_that_user_s_own() {
        let mut connections = ConnectionLimiter::default();
        let mut kept = Vec::new();
        let mut admit = |connections: &mut ConnectionLimiter, uid| {
            let (ours, theirs) = pair();
            kept.push(theirs);
            connections.admit(uid, ours)
        };
        let other = admit(&mut connections, 2).unwrap();
        let first = admit(&mut connections, 1).unwrap();
        for _ in 1..PER_USER {
            admit(&mut connections, 1).unwrap();
        }
        assert!(connections.open.iter().any(|g| g.number == first));
        let last = admit(&mut connections, 1).unwrap();
        assert!(!connections.note_request(first), "the oldest was closed");
        assert!(connections.note_request(last) && connections.note_request(other));
        // Those that are being served stay.
        for number in connections.open.iter().map(|g| g.number).collect::<Vec<_>>() {
            connections.note_request(number);
        }
        assert_eq!(admit(&mut connections, 1), None);
        assert!(admit(&mut connections, 3).is_some(), "and keep nobody else out");
        connections.remove(last);
        assert!(admit(&mut connections, 1).is_some());
    }

    #[test]
    fn many_users_are_bounded_too() {
        let mut connections = ConnectionLimiter::default();
        let mut kept = Vec::new();
        for n in 0..200 {
            let (ours, theirs) = pair();
            kept.push(theirs);
            assert!(connections.admit(n / 6, ours).is_some());
            assert!(connections.open.len() <= IN_ALL);
        }
    }

    #[test]
    fn requests_are_bounded_in_size_and_time() {
        let (mut client, ours) = pair();
        client.write_all(b"{\"a\":1}\nmore").unwrap();
        assert_eq!(read_line(&ours, 100, READ_TIME).unwrap(), b"{\"a\":1}");
        let (mut client, ours) = pair();
        client.write_all(&[b'x'; 101]).unwrap();
        assert!(read_line(&ours, 100, READ_TIME).unwrap_err().to_string().contains("more than 100"));
        let (mut client, ours) = pair();
        client.write_all(b"drip").unwrap();
        let error = read_line(&ours, 100, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (client, ours) = pair();
        drop(client);
        assert_eq!(read_line(&ours, 100, READ_TIME).unwrap(), b"");
        // An answer that nobody fetches.
        let (_client, ours) = pair();
        let long = ControlAnswer::refused("x".repeat(8 << 20));
        let begun = Instant::now();
        let error = answer(&ours, &long, Instant::now() + Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_socket_is_never_open_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/s.sock");
        let first = bind(&path, None).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        // One that was left is replaced.
        drop(first);
        let _second = bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind(&path, None).unwrap_err();
        assert!(matches!(error, ServeError::Folder { mode: 0o777, .. }), "{error}");
        let error = bind(&dir.path().join("x".repeat(120)), None).unwrap_err();
        assert!(matches!(error, ServeError::LongPath(_)), "{error}");
        let error = bind(&dir.path().join("x"), Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("no group no-such-group"), "{error}");
    }
}
