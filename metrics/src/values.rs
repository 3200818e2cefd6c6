//! Metrics as the daemons see them: values that are set, and that nobody reads back.
//!
//! **Invariant:** a metric is no memory. What a decision needs is kept in types of its own, from which the metrics are written;
//! reading a value is possible in tests only (feature `testing`).

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
    ($(#[$doc:meta])* $name:ident($inner:ty) of $value:ident) => {
        written! { $(#[$doc])* $name($inner) }

        impl $name {
            /// The value with these labels, in the order of the family; it is made when it is missing. Panics when their number
            /// is another.
            #[must_use]
            pub fn with_label_values<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) -> $value {
                $value(self.0.with_label_values(labels))
            }

            /// Makes the value with these labels, if it is missing.
            pub fn touch<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) {
                self.0.with_label_values(labels);
            }

            /// Removes the value with these labels, if it is there.
            pub fn remove<L: AsRef<str> + std::fmt::Debug>(&self, labels: &[L]) {
                // An error says that it did not exist, which is the aim.
                let _ = self.0.remove_label_values(labels);
            }
        }
    };
}

written! {
    /// A number that goes up and down.
    Gauge(prometheus::IntGauge)
}
written! {
    /// A number that only grows.
    Counter(prometheus::IntCounter)
}
written! {
    /// Observed values, counted in buckets.
    Histogram(prometheus::Histogram)
}
family! {
    /// Gauges by labels.
    GaugeFamily(prometheus::IntGaugeVec) of Gauge
}
family! {
    /// Counters by labels.
    CounterFamily(prometheus::IntCounterVec) of Counter
}
family! {
    /// Histograms by labels.
    HistogramFamily(prometheus::HistogramVec) of Histogram
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
        self.0.inc();
    }

    /// Adds `number`.
    pub fn inc_by(&self, number: u64) {
        self.0.inc_by(number);
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
