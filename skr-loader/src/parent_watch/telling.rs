//! One change of the CDS or CDNSKEY records of a zone, until its parent is told.
//!
//! ```text
//! Compare ── the DS records are others ──▶ Spread ── every server serves the new records ──▶ Discover ── DSYNC record ──▶ Send ── answer ──▶ done
//!   │  ▲                                                                                        │
//!   │  └──────────── no answer: a pause ◀── Send                     no DSYNC record: done ◀────┘
//!   └── they are what is asked for: done
//! ```
//!
//! A NOTIFY that comes before every server has the records makes the parent see two answers, and stop (RFC 9859 section 4.2). Compare is left
//! out where the parent was told of other records before: they may stand in the cache of the resolver still.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystore::dns::Name;

use super::dsync::{Dsync, Receiver};
use super::pauses::Pauses;
use super::servers::{Servers, Serves};
use super::wish::Wish;
use crate::ask::{AskError, Rcode};

/// Pauses between two looks at the servers.
const LOOKS: Pauses = Pauses(&[
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
    Duration::from_secs(60),
    Duration::from_secs(60),
    Duration::from_secs(60),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
]);
/// Looks behind which the servers are found anew each time: servers come and go while one of them is waited for.
const FOUND_ONCE: usize = 10;
/// Time after which servers that give no answer are waited for no longer, where others have the records.
const SILENCE: Duration = Duration::from_secs(30);
/// Pauses behind a look-up that failed.
const LOOKUPS: Pauses = Pauses(&[
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3600),
]);
/// Pauses after a NOTIFY that got no answer. The last one goes on, so that a receiver that answers again is told within a day; sending ends when
/// the DS records are what is asked for.
const SENDS: Pauses = Pauses(&[
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(14_400),
    Duration::from_secs(86_400),
]);

/// Who is asked and told.
pub trait ParentNetwork {
    /// Whether the DS records are what a wish asks for, as far as the resolver has validated them.
    fn is_granted(&self, zone: &Name, wish: &Wish) -> Result<bool, AskError>;
    /// The servers of a zone that the world asks.
    fn servers(&self, zone: &Name) -> Result<Servers, AskError>;
    /// What each of these servers has of a wish.
    fn look(&self, servers: &[SocketAddr], zone: &Name, wish: &Wish) -> Vec<Serves>;
    /// What the DSYNC records of the parent say.
    fn dsync(&self, zone: &Name) -> Result<Dsync, AskError>;
    /// Sends NOTIFY(CDS), and gives the response code of the answer.
    fn notify(&self, receiver: &Receiver, zone: &Name) -> Result<Rcode, NotifyError>;
    /// Makes the look-ups of a change that is to come, so that the resolver has their answers.
    fn prepare(&self, zone: &Name);
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
    /// It has none that a message can be sent to.
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
    /// The parent has the DS records that are asked for.
    Granted,
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
    /// When the next step is due.
    due: Instant,
    state: State,
    /// NOTIFYs that got no answer.
    unanswered: usize,
    /// Why it is not done, for people.
    cause: String,
}

#[derive(Debug)]
enum State {
    /// The DS records are compared with what is asked for.
    Compare { failures: usize },
    /// Until every server serves the records.
    Spread { servers: Vec<(SocketAddr, Serves)>, unfound: Option<Name>, looks: usize },
    /// The receiver is looked up.
    Discover { failures: usize },
    /// The receiver is told.
    Send(Receiver),
}

impl State {
    const fn spread() -> Self {
        Self::Spread { servers: Vec::new(), unfound: None, looks: 0 }
    }
}

impl Telling {
    /// A change that has just come. `is_first` = the parent was told of nothing before, and may have what is asked for.
    pub const fn new(wish: Wish, is_first: bool, now: Instant) -> Self {
        let state = if is_first { State::Compare { failures: 0 } } else { State::spread() };
        Self { wish, begun: now, due: now, state, unanswered: 0, cause: String::new() }
    }

    /// The records that it is about.
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// When the next step is due.
    pub const fn due(&self) -> Instant {
        self.due
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
    pub fn step(&mut self, zone: &Name, network: &dyn ParentNetwork, now: Instant) -> Next {
        let next = self.advance(zone, network, now);
        if let Next::Wait { pause, .. } = &next {
            self.due = now + *pause;
        }
        next
    }

    fn advance(&mut self, zone: &Name, network: &dyn ParentNetwork, now: Instant) -> Next {
        let wait = |pause| Next::Wait { pause, is_unanswered: false };
        loop {
            match &mut self.state {
                State::Compare { failures } => match network.is_granted(zone, &self.wish) {
                    Ok(true) => return Next::Done(Told::Granted),
                    Ok(false) => self.state = State::spread(),
                    Err(error) => {
                        self.cause = format!("the DS records of the zone cannot be had: {error}");
                        *failures += 1;
                        return wait(LOOKUPS.after(*failures - 1));
                    }
                },
                State::Spread { .. } => match self.spread(zone, network, now) {
                    Some(pause) => return wait(pause),
                    None => self.state = State::Discover { failures: 0 },
                },
                State::Discover { failures } => {
                    self.cause = match network.dsync(zone) {
                        Ok(Dsync::Receiver(receiver)) => {
                            self.state = State::Send(receiver);
                            continue;
                        }
                        Ok(Dsync::None) => return Next::Done(Told::NoReceiver),
                        // A resolver without its trust anchor is mended as well as one that does not answer.
                        Ok(Dsync::NotSecure) => {
                            "the DSYNC records of the parent are not validated by the resolver".to_owned()
                        }
                        Err(error) => format!("the DSYNC records of the parent cannot be had: {error}"),
                    };
                    *failures += 1;
                    return wait(LOOKUPS.after(*failures - 1));
                }
                State::Send(receiver) => {
                    let receiver = receiver.clone();
                    return self.send(receiver, zone, network);
                }
            }
        }
    }

    /// Looks at the servers that are not seen to have the records; `None` when no server is to be waited for.
    fn spread(&mut self, zone: &Name, network: &dyn ParentNetwork, now: Instant) -> Option<Duration> {
        let patience = SILENCE.saturating_sub(now.saturating_duration_since(self.begun));
        let State::Spread { servers, unfound, looks } = &mut self.state else { return None };
        let wait = LOOKS.after(*looks);
        *looks += 1;
        if servers.is_empty() || *looks > FOUND_ONCE {
            match network.servers(zone) {
                Ok(found) => {
                    *servers = found.addresses.into_iter().map(|server| (server, Serves::Unknown)).collect();
                    *unfound = found.unfound;
                }
                // Those that were known are asked on.
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
        // This host has no way to the others, and a resolver may have one; they are not waited for.
        let silent = of(Serves::Unknown).map(ToString::to_string);
        let silent = silent.or_else(|| unfound.as_ref().map(ToString::to_string))?;
        self.cause = format!("the server {silent} gives no answer, or has no address");
        if patience.is_zero() {
            tracing::warn!(%zone, server = silent, "the parent is told although this server gives no answer");
            return None;
        }
        Some(wait.min(patience))
    }

    fn send(&mut self, receiver: Receiver, zone: &Name, network: &dyn ParentNetwork) -> Next {
        let what = match network.notify(&receiver, zone) {
            Ok(Rcode::NOERROR) => return Next::Done(Told::Taken(receiver)),
            Ok(
                rcode @ (Rcode::FORMERR | Rcode::REFUSED | Rcode::NOTAUTH | Rcode::NOTIMP | Rcode::NXDOMAIN),
            ) => return Next::Done(Told::Refused(receiver, rcode)),
            Ok(rcode) => format!("it answers {rcode}"),
            Err(error) => error.to_string(),
        };
        self.cause = format!("NOTIFY(CDS) to {receiver} was not taken: {what}");
        let pause = SENDS.after(self.unanswered);
        self.unanswered += 1;
        // By then the parent may have found the records itself, and its DSYNC record may name another receiver.
        self.state = State::Compare { failures: 0 };
        Next::Wait { pause, is_unanswered: true }
    }
}
