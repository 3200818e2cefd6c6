//! Metrics as the daemons see them: values that are set, and that nobody reads back.
//!
//! A process with many zones leaves the series of single zones out: whoever writes to one writes to a value that nobody shows.
//!
//! **Invariant:** a metric is no memory. What a decision needs is kept in types of its own, from which the metrics are written;
//! reading a value is possible in tests only (feature `testing`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::series::{Count, CounterTable, GaugeTable, Number};

/// Whether the series of single zones are left out; shared by all families.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detail(Arc<AtomicBool>);

impl Detail {
    pub(crate) fn leave_out(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_left_out(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a type that only writes, around one of the registry.
macro_rules! written {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub(crate) $inner);
    };
}

/// Declares a family of such values, by labels.
macro_rules! family {
    ($(#[$doc:meta])* $name:ident($inner:ty) of $value:ident($single:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            pub(crate) inner: $inner,
            /// For a family that can be left out.
            detail: Option<Detail>,
            /// What is written to in the place of a series that is left out.
            nobody: $single,
        }

        impl $name {
            pub(crate) const fn new(inner: $inner, detail: Option<Detail>, nobody: $single) -> Self {
                Self { inner, detail, nobody }
            }

            fn is_left_out(&self) -> bool {
                self.detail.as_ref().is_some_and(Detail::is_left_out)
            }

            /// The value with these labels, in the order of the family; it is made when it is missing. Panics when their number
            /// is another.
            #[must_use]
            pub fn with_label_values<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) -> $value {
                if self.is_left_out() {
                    return $value(self.nobody.clone());
                }
                $value(self.inner.with_label_values(labels))
            }

            /// Makes the value with these labels, if it is missing.
            pub fn touch<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) {
                if !self.is_left_out() {
                    self.inner.with_label_values(labels);
                }
            }

            /// Removes the value with these labels, if it is there.
            pub fn remove<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) {
                // An error says that it did not exist, which is the aim.
                let _ = self.inner.remove_label_values(labels);
            }
        }
    };
}

written! {
    /// A number that goes up and down.
    Gauge(Number)
}
written! {
    /// A number that only grows.
    Counter(Count)
}
written! {
    /// Observed values, counted in buckets.
    Histogram(prometheus::Histogram)
}
family! {
    /// Gauges by labels.
    GaugeFamily(GaugeTable) of Gauge(Number)
}
family! {
    /// Counters by labels.
    CounterFamily(CounterTable) of Counter(Count)
}
family! {
    /// Histograms by labels.
    HistogramFamily(prometheus::HistogramVec) of Histogram(prometheus::Histogram)
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Its value, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

impl Counter {
    /// Adds 1.
    pub fn inc(&self) {
        self.0.add(1);
    }

    /// Adds `number`.
    pub fn inc_by(&self, number: u64) {
        self.0.add(number);
    }

    /// Its value, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Histogram {
    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// How many values were counted, for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn get_sample_count(&self) -> u64 {
        self.0.get_sample_count()
    }
}
