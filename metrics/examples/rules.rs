//! Prints the alert rules of the conditions.

fn main() {
    print!("{}", offline_ksk_metrics::rules::conditions());
}
