//! Gauges and counters by their labels, held as numbers.
//!
//! The library's own families hold name, help and label names once more in each series, ten times as much as the labels' values and the
//! number itself: with some series for each of thousands of zones that is most of the memory of the metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::thread::available_parallelism;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

/// A number that is set by many and read by a scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Number(Arc<AtomicI64>);

impl Number {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is; for a scrape, and for tests.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Most places that a counter is spread over.
const MOST_PLACES: usize = 16;
/// Places of each counter: as many as threads run at the same time.
static PLACES: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, usize::from).next_power_of_two().min(MOST_PLACES));

/// A number that grows. Each thread adds at a place of its own, which it shares with few others, so that threads that count at the same time do not
/// wait for each other; a scrape takes the sum.
#[derive(Debug, Clone)]
pub(crate) struct Count(Arc<[CountPlace]>);

/// A line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CountPlace(AtomicU64);

impl Default for Count {
    fn default() -> Self {
        Self((0..*PLACES).map(|_| CountPlace::default()).collect())
    }
}

impl Count {
    /// Adds `number`.
    pub fn add(&self, number: u64) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        // A thread at its end has its number no more.
        let thread = THREAD.try_with(|thread| *thread).unwrap_or_default();
        if let Some(CountPlace(place)) = self.0.get(thread % self.0.len().max(1)) {
            place.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// The sum; for a scrape, and for tests.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|CountPlace(place)| place.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// What a series has: a number that is shared by its clones.
pub(crate) trait Value: Clone + Default + Send + Sync {
    /// What a scrape calls it.
    const TYPE: MetricType;

    /// Puts it into a series that is shown.
    fn show(&self, metric: &mut Metric);
}

impl Value for Number {
    const TYPE: MetricType = MetricType::GAUGE;

    fn show(&self, metric: &mut Metric) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.get() as f64);
        metric.set_gauge(gauge);
    }
}

impl Value for Count {
    const TYPE: MetricType = MetricType::COUNTER;

    fn show(&self, metric: &mut Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(self.get() as f64);
        metric.set_counter(counter);
    }
}

/// Gauges of one family.
pub(crate) type GaugeTable = SeriesTable<Number>;
/// Counters of one family.
pub(crate) type CounterTable = SeriesTable<Count>;

/// The series of one family. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SeriesTable<V>(Arc<Table<V>>);

#[derive(Debug)]
struct Table<V> {
    desc: Desc,
    /// Places of the labels in the order of their names, in which they are shown.
    sorted: Vec<usize>,
    series: RwLock<HashMap<Key, V>>,
}

/// The values of the labels, each with its length in front, so that no two lists of values are one key.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key(Box<str>);

impl Key {
    fn of<L: AsRef<str>>(values: &[L]) -> Self {
        let mut key = String::with_capacity(values.iter().map(|value| value.as_ref().len() + 4).sum());
        for value in values {
            key.push_str(&value.as_ref().len().to_string());
            key.push(':');
            key.push_str(value.as_ref());
        }
        Self(key.into())
    }

    fn values(&self) -> Vec<&str> {
        let (mut values, mut rest) = (Vec::new(), &*self.0);
        while let Some((len, tail)) = rest.split_once(':') {
            // As `of` has written it.
            let len = len.parse().unwrap_or(tail.len()).min(tail.len());
            let (value, tail) = tail.split_at(len);
            values.push(value);
            rest = tail;
        }
        values
    }
}

impl<V: Value> SeriesTable<V> {
    /// A family without series.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let names = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new())?;
        let mut sorted: Vec<usize> = (0..labels.len()).collect();
        sorted.sort_by_key(|place| labels[*place]);
        Ok(Self(Arc::new(Table { desc, sorted, series: RwLock::default() })))
    }

    /// The value with these values of the labels; it is made with 0 when it is missing. Panics when their number is another.
    pub fn with_label_values<L: AsRef<str> + std::fmt::Debug>(&self, values: &[L]) -> V {
        let Table { desc, series, .. } = &*self.0;
        assert_eq!(values.len(), desc.variable_labels.len(), "{}: {values:?}", desc.fq_name);
        let key = Key::of(values);
        let known = series.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let mut series = series.write().unwrap_or_else(PoisonError::into_inner);
            series.entry(key).or_default().clone()
        })
    }

    /// Removes the number with these values of the labels; true when it was there.
    pub fn remove_label_values<L: AsRef<str>>(&self, values: &[L]) -> bool {
        let mut series = self.0.series.write().unwrap_or_else(PoisonError::into_inner);
        series.remove(&Key::of(values)).is_some()
    }
}

impl<V: Value> Collector for SeriesTable<V> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Table { desc, sorted, series } = &*self.0;
        let series = series.read().unwrap_or_else(PoisonError::into_inner);
        let metric = |(key, value): (&Key, &V)| {
            let values = key.values();
            let label = |place: &usize| {
                let mut pair = LabelPair::default();
                pair.set_name(desc.variable_labels[*place].clone());
                pair.set_value(values.get(*place).copied().unwrap_or_default().to_owned());
                pair
            };
            let mut metric = Metric::from_label(sorted.iter().map(label).collect());
            value.show(&mut metric);
            metric
        };
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(V::TYPE);
        family.set_metric(series.iter().map(metric).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, IntGaugeVec, Opts, TextEncoder};

    use super::*;

    /// The lines of the text form, sorted: their order is the registry's.
    fn lines(family: &impl Collector) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&family.collect()).expect("text");
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn kind_114_series_of_gauges_read_as_those_of_the_library() {
        let labels = ["zone", "role", "a"];
        let ours = GaugeTable::new("x", "help with \\ and\nline", &labels).expect("a family");
        let theirs = IntGaugeVec::new(Opts::new("x", "help with \\ and\nline"), &labels).expect("a family");
        for (number, values) in [
            ["b.", "zsk", ""],
            ["a.", "ksk", "1:"],
            ["a.", "zsk", "2:ab"],
            ["é\"\\\n.", "", "1"],
            ["a", "", ""],
        ]
        .iter()
        .enumerate()
        {
            ours.with_label_values(values).set(number as i64 - 2);
            theirs.with_label_values(values).set(number as i64 - 2);
        }
        assert_eq!(lines(&ours), lines(&theirs));
        assert!(ours.remove_label_values(&["a.", "zsk", "2:ab"]));
        assert!(!ours.remove_label_values(&["a.", "zsk", "2:ab"]), "it is gone");
        theirs.remove_label_values(&["a.", "zsk", "2:ab"]).expect("it was there");
        assert_eq!(lines(&ours), lines(&theirs));
    }

    #[test]
    fn series_of_counters_read_as_those_of_the_library() {
        let labels = ["zone", "kind"];
        let ours = CounterTable::new("x_total", "help", &labels).expect("a family");
        let theirs = IntCounterVec::new(Opts::new("x_total", "help"), &labels).expect("a family");
        for (number, values) in (0..).zip([["b.", "positive"], ["a.", "error"], ["a.", ""]]) {
            ours.with_label_values(&values).add(number);
            theirs.with_label_values(&values).inc_by(number);
        }
        assert_eq!(lines(&ours), lines(&theirs));
    }

    #[test]
    fn what_many_threads_count_is_summed_also_when_they_have_ended() {
        let count = Count::default();
        std::thread::scope(|scope| {
            for thread in 0..3 * MOST_PLACES as u64 {
                let count = count.clone();
                scope.spawn(move || (0..1000).for_each(|_| count.add(thread)));
            }
        });
        let threads = 3 * MOST_PLACES as u64;
        assert_eq!(count.get(), 1000 * threads * (threads - 1) / 2);
    }

    #[test]
    fn values_that_look_alike_when_they_stand_together_are_other_series() {
        for (one, other) in [(["a", "b"], ["ab", ""]), (["1:a", ""], ["", "1:a"]), (["", ""], ["0:", ""])] {
            assert_ne!(Key::of(&one), Key::of(&other));
            assert_eq!((Key::of(&one).values(), Key::of(&other).values()), (one.to_vec(), other.to_vec()));
        }
    }

    #[test]
    fn a_family_without_labels_has_one_series() {
        let table = GaugeTable::new("x", "help", &[]).expect("a family");
        table.with_label_values::<&str>(&[]).set(7);
        assert!(lines(&table).contains(&"x 7\n".to_owned()));
    }
}
