//! The sessions with a token that sign side by side.

use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::error::Error;
use cryptoki::session::Session;

/// Most sessions with one token. Network HSMs answer many at a time; what is in a USB port works on one.
const MOST: usize = 8;

/// Sessions with one token. The login counts for all of them (PKCS#11 section 5.6), as long as one is open.
pub(super) struct Sessions {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: Vec<Session>,
    open: usize,
    /// How many the token allows, as far as that is known.
    most: usize,
}

impl Sessions {
    /// Begins with one, which has logged in.
    pub(super) fn of(first: Session) -> Self {
        Self { state: Mutex::new(State { free: vec![first], open: 1, most: MOST }), freed: Condvar::new() }
    }

    /// Lends a session that is free, or one that `open` makes; waits for one to come back when there are enough.
    pub(super) fn lend(&self, open: impl Fn() -> Result<Session, Error>) -> Result<Lent<'_>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(session) = state.free.pop() {
                return Ok(Lent { sessions: self, session: Some(session) });
            }
            if state.open < state.most {
                match open() {
                    Ok(session) => {
                        state.open += 1;
                        return Ok(Lent { sessions: self, session: Some(session) });
                    }
                    // The token has no more; those that are open come back.
                    Err(_) if state.open > 0 => state.most = state.open,
                    Err(error) => return Err(error),
                }
            } else {
                state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session until dropped.
pub(super) struct Lent<'a> {
    sessions: &'a Sessions,
    /// Taken by the drop only.
    session: Option<Session>,
}

impl Deref for Lent<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("a session until dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.free.extend(self.session.take());
        self.sessions.freed.notify_one();
    }
}
