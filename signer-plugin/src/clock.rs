//! [`Clock`]: what tells the parts of this crate the time.

use std::sync::Arc;

use keystore::time::Timestamp;

/// Tells the time; `keystore::clock::now` outside of tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
