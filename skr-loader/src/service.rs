//! What the service manager is told: ready, reloading, stopping, and that the loop is alive (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told, and nothing of this matters.

use sd_notify::NotifyState;

/// All parts run; READY=1.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; RELOADING=1. [`ready`] follows, whether it was taken or not.
pub fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// The process ends; STOPPING=1.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The loop has come round; WATCHDOG=1. It does so at least once a `rescan-interval`: `WatchdogSec` must be longer.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        // The service manager will say so by its own means, when it waits for it.
        tracing::debug!(%error, "the service manager was not told");
    }
}
