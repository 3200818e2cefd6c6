//! Metric names, registry, HTTP endpoint, alert rules.
//!
//! **Invariant:** nothing here decides anything; the daemons set values when their state changes, and a scrape only encodes.

pub mod condition;
pub mod families;
pub mod http;
pub mod queries;
pub mod rules;
pub mod values;
pub mod zones;

pub use families::{Metrics, MetricsError};
