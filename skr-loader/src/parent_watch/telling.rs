//! One change of the CDS or CDNSKEY records of a zone, until its parent is told.
//!
//! ```text
//! Spread ── every server serves the new records ──▶ Discover ── DSYNC record ──▶ Send ── answer ──▶ done
//!                                                     │ ▲                         │
//!                  no record, or not validated: done ◀┘ └── no answer: a pause ◀──┘
//! ```
//!
//! A NOTIFY that comes before every server has the records makes the parent see two answers, and stop (RFC 9859 section 4.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystore::dns::Name;

use super::dsync::{Dsync, Receiver};
use super::servers::Serves;
use super::wish::Wish;
use crate::ask::{AskError, Rcode};

/// Pauses between two looks at the servers; the last one goes on.
const LOOKS: [Duration; 10] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Time after which servers that give no answer are waited for no longer.
const SILENCE: Duration = Duration::from_secs(30);
/// Pauses behind a look-up of DSYNC records that failed; the last one goes on.
const LOOKUPS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];
/// Pauses behind a NOTIFY that has got no answer (RFC 1996 section 3.6 has retries end); the last one goes on, once a day, so that a
/// receiver that is mended is told.
const SENDS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(14_400),
    Duration::from_secs(86_400),
];

/// Who is asked and told.
pub trait Network {
    /// The servers of a zone that the world asks.
    fn servers(&self, zone: &Name) -> Result<Vec<SocketAddr>, AskError>;
    /// What each of these servers has of a wish.
    fn look(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish) -> Vec<Serves>;
    /// What the DSYNC records of the parent say.
    fn dsync(&self, zone: &Name) -> Result<Dsync, AskError>;
    /// Sends NOTIFY(CDS), and gives the response code of the answer.
    fn notify(&self, receiver: &Receiver, zone: &Name) -> Result<Rcode, NotifyError>;
}

/// Why a NOTIFY has got no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The address of the receiver cannot be had.
    #[error("the address of {target} cannot be found: {source}")]
    Address {
        /// Name of the receiver.
        target: Name,
        /// What the resolver said.
        source: AskError,
    },
    /// It has none.
    #[error("{0} has no address")]
    NoAddress(Name),
    /// No answer from any of its addresses.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// What became of a change, finally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The receiver has taken the NOTIFY.
    Taken(Receiver),
    /// The receiver does not want it.
    Refused(Receiver, Rcode),
    /// The parent says nowhere that it wants to be told.
    NoReceiver,
    /// What it says is not validated.
    NotSecure,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is left to do.
    Done(Told),
    /// The next step is due after `pause`.
    Wait {
        /// How long.
        pause: Duration,
        /// A NOTIFY was sent, and nothing of use came back.
        is_unanswered: bool,
    },
}

/// The change, and how far it is.
#[derive(Debug)]
pub struct Telling {
    wish: Wish,
    begun: Instant,
    state: State,
    /// NOTIFYs that got no answer.
    unanswered: usize,
    /// Why it is not done, for people.
    cause: String,
}

#[derive(Debug)]
enum State {
    /// Until every server serves the records.
    Spread { servers: Vec<(SocketAddr, Serves)>, looks: usize },
    /// The receiver is looked up.
    Discover { failures: usize },
    /// The receiver is told.
    Send(Receiver),
}

impl Telling {
    /// A change that has just come.
    pub const fn new(wish: Wish, now: Instant) -> Self {
        let state = State::Spread { servers: Vec::new(), looks: 0 };
        Self { wish, begun: now, state, unanswered: 0, cause: String::new() }
    }

    /// The records that it is about.
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// How long it is on its way.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// Why it is not done, a sentence without its full stop.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Does what is due.
    pub fn step(&mut self, zone: &Name, network: &dyn Network, now: Instant) -> Next {
        loop {
            match &mut self.state {
                State::Spread { .. } => {
                    if let Some(pause) = self.spread(zone, network, now) {
                        return Next::Wait { pause, is_unanswered: false };
                    }
                    self.state = State::Discover { failures: 0 };
                }
                State::Discover { failures } => match network.dsync(zone) {
                    Ok(Dsync::Receiver(receiver)) => self.state = State::Send(receiver),
                    Ok(Dsync::None) => return Next::Done(Told::NoReceiver),
                    Ok(Dsync::NotSecure) => return Next::Done(Told::NotSecure),
                    Err(error) => {
                        let pause = pause(&LOOKUPS, *failures);
                        *failures += 1;
                        self.cause = format!("the DSYNC records of the parent cannot be had: {error}");
                        return Next::Wait { pause, is_unanswered: false };
                    }
                },
                State::Send(receiver) => {
                    let receiver = receiver.clone();
                    return self.send(receiver, zone, network);
                }
            }
        }
    }

    /// Looks at the servers that are not seen to have the records; `None` when no server is to be waited for.
    fn spread(&mut self, zone: &Name, network: &dyn Network, now: Instant) -> Option<Duration> {
        let State::Spread { servers, looks } = &mut self.state else { return None };
        let is_patient = now.saturating_duration_since(self.begun) < SILENCE;
        let wait = pause(&LOOKS, *looks);
        *looks += 1;
        // Servers come and go while one of them is waited for.
        if servers.is_empty() || *looks > LOOKS.len() {
            match network.servers(zone) {
                Ok(found) => *servers = found.into_iter().map(|server| (server, Serves::Unknown)).collect(),
                Err(error) => self.cause = format!("the servers of the zone cannot be found: {error}"),
            }
        }
        let asked: Vec<SocketAddr> = servers
            .iter()
            .filter(|(_, serves)| *serves != Serves::These)
            .map(|(server, _)| *server)
            .collect();
        let seen = network.look(&asked, zone, &self.wish);
        for (server, serves) in asked.iter().zip(seen) {
            servers.iter_mut().filter(|(known, _)| known == server).for_each(|known| known.1 = serves);
        }
        let of = |wanted| servers.iter().find(|(_, serves)| *serves == wanted).map(|(server, _)| server);
        if let Some(server) = of(Serves::Others) {
            self.cause = format!("{server} does not serve the new CDS and CDNSKEY records yet");
            return Some(wait);
        }
        if of(Serves::These).is_none() {
            if !servers.is_empty() {
                self.cause =
                    "no server of the zone answers this host; name servers that do in [parent] servers"
                        .to_owned();
            }
            return Some(wait);
        }
        let server = of(Serves::Unknown)?;
        self.cause = format!("{server} gives no answer");
        if !is_patient {
            tracing::warn!(%zone, %server, "the parent is told although this server gives no answer");
        }
        is_patient.then_some(wait)
    }

    fn send(&mut self, receiver: Receiver, zone: &Name, network: &dyn Network) -> Next {
        let what = match network.notify(&receiver, zone) {
            Ok(Rcode::NOERROR) => return Next::Done(Told::Taken(receiver)),
            Ok(
                rcode @ (Rcode::FORMERR | Rcode::REFUSED | Rcode::NOTAUTH | Rcode::NOTIMP | Rcode::NXDOMAIN),
            ) => return Next::Done(Told::Refused(receiver, rcode)),
            Ok(rcode) => format!("it answers {rcode}"),
            Err(error) => error.to_string(),
        };
        self.cause = format!("NOTIFY(CDS) to {receiver} was not taken: {what}");
        let pause = pause(&SENDS, self.unanswered);
        self.unanswered += 1;
        // The record may name another receiver by then.
        self.state = State::Discover { failures: 0 };
        Next::Wait { pause, is_unanswered: true }
    }
}

fn pause(pauses: &[Duration], turn: usize) -> Duration {
    pauses.get(turn).or(pauses.last()).copied().unwrap_or_default()
}
