//! Gauges by their labels, held as numbers.
//!
//! The library's own families hold name, help and label names once more in each series, ten times as much as the labels' values and the
//! number itself: with some series for each of thousands of zones that is most of the memory of the metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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

/// The series of one family. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct GaugeTable(Arc<Table>);

#[derive(Debug)]
struct Table {
    desc: Desc,
    /// Places of the labels in the order of their names, in which they are shown.
    sorted: Vec<usize>,
    series: RwLock<HashMap<Key, Number>>,
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

impl GaugeTable {
    /// A family without series.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let names = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new())?;
        let mut sorted: Vec<usize> = (0..labels.len()).collect();
        sorted.sort_by_key(|place| labels[*place]);
        Ok(Self(Arc::new(Table { desc, sorted, series: RwLock::default() })))
    }

    /// The number with these values of the labels; it is made with 0 when it is missing. Panics when their number is another.
    pub fn with_label_values<L: AsRef<str> + std::fmt::Debug>(&self, values: &[L]) -> Number {
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

impl Collector for GaugeTable {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Table { desc, sorted, series } = &*self.0;
        let series = series.read().unwrap_or_else(PoisonError::into_inner);
        let metric = |(key, number): (&Key, &Number)| {
            let values = key.values();
            let label = |place: &usize| {
                let mut pair = LabelPair::default();
                pair.set_name(desc.variable_labels[*place].clone());
                pair.set_value(values.get(*place).copied().unwrap_or_default().to_owned());
                pair
            };
            let mut gauge = proto::Gauge::default();
            gauge.set_value(number.get() as f64);
            let mut metric = Metric::from_label(sorted.iter().map(label).collect());
            metric.set_gauge(gauge);
            metric
        };
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(series.iter().map(metric).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntGaugeVec, Opts, TextEncoder};

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
