//! Every way that a change can take, with steps of the clock and answers from a table.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystore::dns::Name;

use super::super::dsync::{Dsync, Receiver};
use super::super::servers::{Servers, Serves};
use super::super::telling::{Next, NotifyError, ParentNetwork, Telling, Told};
use super::super::wish::Wish;
use crate::ask::{AnswerFault, AskError, Rcode};
use crate::testing::zone;
use keystore::dns::Rtype;

use Serves::{NoWay, Others, These, Unknown};

fn servfail() -> AskError {
    AskError::BadAnswer { rtype: Rtype::DSYNC, fault: AnswerFault::Rcode(Rcode::SERVFAIL) }
}

fn receiver() -> Receiver {
    Receiver { target: Name::parse("scanner.example.").unwrap(), port: 53 }
}

/// Answers, the last one of each kind again and again.
#[derive(Default)]
struct Table {
    looks: RefCell<VecDeque<Vec<Serves>>>,
    dsync: RefCell<VecDeque<Result<Dsync, ()>>>,
    notify: RefCell<VecDeque<Result<Rcode, ()>>>,
    granted: RefCell<VecDeque<Result<bool, ()>>>,
    /// Whether the servers are found, and one of them without address.
    servers: RefCell<VecDeque<Result<bool, ()>>>,
    /// What was asked.
    asked: RefCell<Vec<&'static str>>,
}

fn next<T: Clone>(answers: &RefCell<VecDeque<T>>) -> T {
    let mut answers = answers.borrow_mut();
    if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().unwrap().clone() }
}

impl ParentNetwork for Table {
    fn is_granted(&self, _: &Name, _: &Wish) -> Result<bool, AskError> {
        self.asked.borrow_mut().push("ds");
        next(&self.granted).map_err(|()| servfail())
    }

    fn servers(&self, _: &Name) -> Result<Servers, AskError> {
        let found = next(&self.servers).map_err(|()| servfail())?;
        let addresses = [1, 2].map(|i| SocketAddr::from(([192, 0, 2, i], 53))).into();
        Ok(Servers { addresses, unfound: found.then(zone) })
    }

    fn prepare(&self, _: &Name) {}

    fn look(&self, servers: &[SocketAddr], _: &Name, _: &Wish) -> Vec<Serves> {
        self.asked.borrow_mut().push("look");
        next(&self.looks).into_iter().take(servers.len()).collect()
    }

    fn dsync(&self, _: &Name) -> Result<Dsync, AskError> {
        self.asked.borrow_mut().push("dsync");
        next(&self.dsync).map_err(|()| servfail())
    }

    fn notify(&self, _: &Receiver, _: &Name) -> Result<Rcode, NotifyError> {
        self.asked.borrow_mut().push("notify");
        next(&self.notify).map_err(|()| NotifyError::NoAddress(receiver().target))
    }
}

/// Steps until it is done, at most for `limit`: how it ended, how long it took, and what was asked.
fn run(table: &Table, limit: Duration) -> (Option<Told>, Duration, Vec<&'static str>) {
    run_from(table, false, limit)
}

fn run_from(table: &Table, is_first: bool, limit: Duration) -> (Option<Told>, Duration, Vec<&'static str>) {
    let begin = Instant::now();
    let mut now = begin;
    let wish = Wish { cds: vec![vec![1]], cdnskey: vec![vec![2]] };
    let mut telling = Telling::new(wish, is_first, begin);
    while now - begin < limit {
        match telling.step(&zone(), table, now) {
            Next::Done(told) => return (Some(told), now - begin, table.asked.take()),
            Next::Wait { pause, .. } => {
                assert!(!pause.is_zero() && !telling.cause().is_empty());
                now += pause;
            }
        }
    }
    (None, now - begin, table.asked.take())
}

fn table(looks: &[&[Serves]], dsync: &[Result<Dsync, ()>], notify: &[Result<Rcode, ()>]) -> Table {
    Table {
        looks: RefCell::new(looks.iter().map(|look| look.to_vec()).collect()),
        dsync: RefCell::new(dsync.to_vec().into()),
        notify: RefCell::new(notify.to_vec().into()),
        granted: RefCell::new([Ok(false)].into()),
        servers: RefCell::new([Ok(false)].into()),
        asked: RefCell::default(),
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn parent_is_told_when_the_last_server_has_the_records() {
    let found = || Ok(Dsync::Receiver(receiver()));
    let taken = Some(Told::Taken(receiver()));
    // What is asked, and the least and the most milliseconds that it takes.
    for (looks, asked, least, most) in [
        (vec![&[These, These][..]], 1, 0, 0),
        (vec![&[These, Others], &[These]], 2, 1, 100),
        (vec![&[Unknown, These], &[Others], &[These]], 3, 1, 200),
        // A server that is silent is waited for, but not for ever.
        (vec![&[These, Unknown], &[Unknown]], 10, 30_000, 30_000),
        // This host has no way to one of them, as without IPv6.
        (vec![&[These, NoWay]], 1, 0, 0),
        (vec![&[NoWay, Others], &[NoWay, These]], 2, 1, 100),
    ] {
        let shown = format!("{looks:?}");
        let table = table(&looks, &[found()], &[Ok(Rcode::NOERROR)]);
        let (told, took, all) = run(&table, HOUR);
        assert_eq!(told, taken, "{shown}");
        assert!((least..=most).contains(&took.as_millis()), "{shown}: {took:?}");
        assert!(all.iter().filter(|what| **what == "look").count().abs_diff(asked) <= 1, "{shown}: {all:?}");
        assert_eq!(all[all.len() - 2..], ["dsync", "notify"], "{shown}");
    }
    // Without one that has the records nobody is told.
    for none in [Unknown, NoWay] {
        let (told, _, all) = run(&table(&[&[none, none]], &[found()], &[Ok(Rcode::NOERROR)]), 24 * HOUR);
        assert!(told.is_none() && !all.contains(&"notify"), "{none:?}");
    }
    // A server whose address cannot be had is waited for as one that is silent.
    let unfound = table(&[&[These, These]], &[found()], &[Ok(Rcode::NOERROR)]);
    unfound.servers.replace([Ok(true)].into());
    let (told, took, _) = run(&unfound, HOUR);
    assert_eq!((told, took.as_secs()), (taken, 30));
    // A resolver that fails takes no server away that was seen to have others.
    let failing = table(&[&[These, Others], &[Others]], &[found()], &[Ok(Rcode::NOERROR)]);
    failing.servers.replace([Ok(false), Err(())].into());
    let (told, _, all) = run(&failing, HOUR);
    assert!(told.is_none() && !all.contains(&"notify"));
    let failing = table(&[&[These, These]], &[found()], &[Ok(Rcode::NOERROR)]);
    failing.servers.replace([Err(())].into());
    assert_eq!(run(&failing, HOUR).0, None, "without servers nobody is told");
    // One that has others is waited for as long as it has them.
    let (told, _, all) =
        run(&table(&[&[These, Others], &[Others]], &[found()], &[Ok(Rcode::NOERROR)]), 24 * HOUR);
    assert_eq!(told, None);
    assert!(!all.contains(&"notify") && all.len() < 24 * 4 + 20, "{}", all.len());
}

#[test]
fn each_end_is_reached_with_one_message_at_most() {
    for (dsync, notify, end, messages) in [
        (Ok(Dsync::None), Ok(Rcode::NOERROR), Told::NoReceiver, 0),
        (Ok(Dsync::Receiver(receiver())), Ok(Rcode::NOERROR), Told::Taken(receiver()), 1),
        (Ok(Dsync::Receiver(receiver())), Ok(Rcode::REFUSED), Told::Refused(receiver(), Rcode::REFUSED), 1),
        (Ok(Dsync::Receiver(receiver())), Ok(Rcode::NOTIMP), Told::Refused(receiver(), Rcode::NOTIMP), 1),
    ] {
        let (told, _, asked) = run(&table(&[&[These, These]], &[dsync], &[notify]), HOUR);
        assert_eq!(told, Some(end));
        assert_eq!(asked.iter().filter(|what| **what == "notify").count(), messages);
    }
}

#[test]
fn parent_that_has_what_is_asked_for_is_not_told() {
    let found = Ok(Dsync::Receiver(receiver()));
    let new = || table(&[&[These, These]], std::slice::from_ref(&found), &[Ok(Rcode::NOERROR)]);
    for (granted, end) in [
        (vec![Ok(true)], Told::Granted),
        (vec![Ok(false)], Told::Taken(receiver())),
        // Nobody is told while it is not known.
        (vec![Err(()), Err(()), Ok(true)], Told::Granted),
        (vec![Err(()), Ok(false)], Told::Taken(receiver())),
    ] {
        let table = new();
        table.granted.replace(granted.clone().into());
        let (told, _, asked) = run_from(&table, true, HOUR);
        assert_eq!(told, Some(end), "{granted:?}");
        assert_eq!(asked.iter().filter(|what| **what == "ds").count(), granted.len());
    }
    // What the parent has found by itself meanwhile ends the retries.
    let silent = table(&[&[These, These]], std::slice::from_ref(&found), &[Err(())]);
    silent.granted.replace([Ok(false), Ok(true)].into());
    let (told, _, asked) = run(&silent, 24 * HOUR);
    assert_eq!(told, Some(Told::Granted));
    assert_eq!(asked.iter().filter(|what| **what == "notify").count(), 2);
    // The parent was told of other records before, and the resolver may have the DS records of before.
    assert!(!run(&new(), HOUR).2.contains(&"ds"));
}

#[test]
fn records_that_are_not_validated_are_asked_for_again() {
    let not_secure = table(&[&[These, These]], &[Ok(Dsync::NotSecure)], &[Ok(Rcode::NOERROR)]);
    let (told, _, asked) = run(&not_secure, 24 * HOUR);
    assert!(told.is_none() && !asked.contains(&"notify") && asked.len() < 40, "{}", asked.len());
    let found = Ok(Dsync::Receiver(receiver()));
    let mended = table(&[&[These, These]], &[Ok(Dsync::NotSecure), found], &[Ok(Rcode::NOERROR)]);
    assert_eq!(run(&mended, HOUR).0, Some(Told::Taken(receiver())));
}

#[test]
fn retries_come_seldom_and_do_not_end() {
    let found = Ok(Dsync::Receiver(receiver()));
    // Silence, and response codes that may pass.
    for notify in [Err(()), Ok(Rcode::SERVFAIL), Ok(Rcode::YXRRSET)] {
        let silent = table(&[&[These, These]], std::slice::from_ref(&found), &[notify]);
        let (told, _, asked) = run(&silent, 24 * 30 * HOUR);
        assert_eq!(told, None);
        let messages = asked.iter().filter(|what| **what == "notify").count();
        assert!((30..=36).contains(&messages), "{messages} in 30 days");
    }
    let mended =
        table(&[&[These, These]], &[Err(()), Err(()), found.clone()], &[Err(()), Ok(Rcode::NOERROR)]);
    let (told, took, _) = run(&mended, HOUR);
    assert_eq!(told, Some(Told::Taken(receiver())));
    assert!(took < Duration::from_secs(120), "{took:?}");
    let broken = table(&[&[These, These]], &[Err(())], &[Ok(Rcode::NOERROR)]);
    let (told, _, asked) = run(&broken, 24 * HOUR);
    assert!(told.is_none() && asked.len() < 40, "{}", asked.len());
}
