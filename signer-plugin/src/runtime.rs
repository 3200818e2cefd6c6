//! The life of a served zone: bundles switch at the second of their inception, signatures are renewed, the zone file is read again.
