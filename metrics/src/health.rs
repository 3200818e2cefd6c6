//! How a zone and its host stand: facts, the conditions that follow from them, and how both are shown.
//!
//! ```text
//! state folder ──gather──▶ Facts ──judge(now)──▶ Health ──▶ status, JSON, --check, page, calendar, /readyz, metrics
//! daemons ──Report──▶ health/COMPONENT.json ──┘
//! ```
//!
//! **Invariant:** [`judge::judge`] alone decides what is wrong and how urgent it is; everything else shows what it decided.
//! **Invariant:** facts come from files, so that they are the same with and without running daemons. What only a daemon knows it writes
//! down in its [`report::ComponentReport`]. A fact that is missing or old is a condition, never "ok".

pub mod alarm;
pub mod alive;
pub mod calendar;
pub mod facts;
pub mod gather;
pub mod judge;
pub mod model;
pub mod page;
pub mod plugin;
pub mod report;
pub mod revision;
pub mod routes;
pub mod terminal;
pub mod watch;
pub mod words;

pub use crate::condition::{ConditionId, Severity};
pub use facts::HealthFacts;
pub use model::{Condition, Health, ZoneHealth};
