//! Metric names, registry, HTTP endpoint, alert rules; how a zone stands, and the status page that shows it.
//!
//! **Invariant:** nothing but [`health::judge`] decides anything; the daemons set values when their state changes, and a scrape only encodes.

pub mod changed;
pub mod condition;
pub mod families;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;

pub mod health;
pub mod http;
pub mod queries;
pub mod rules;
mod series;
pub mod values;
pub mod zones;

pub use families::{Families, JoinError, Metrics, MetricsError};
/// For families of a host program, see [`Metrics::join`].
pub use prometheus;
