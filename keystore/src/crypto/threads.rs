//! On how many threads signatures are made.

/// Signatures that a token is asked for at the same time. Network HSMs answer many at a time; what is in a USB port works on one.
const TOKEN_THREADS: usize = 8;

/// Runs `work`, which makes signatures on the threads of rayon: on those that all share, one for each core, or, with a key that
/// [is in a token](super::SigningKey::is_in_token), on more threads of its own. These wait for the token most of the time; while a
/// token is slow, or hangs, other work has the shared threads for itself. The caller waits until all is done.
pub fn run_signing<T: Send>(is_in_token: bool, work: impl FnOnce() -> T + Send) -> T {
    if !is_in_token {
        return work();
    }
    match rayon::ThreadPoolBuilder::new().num_threads(TOKEN_THREADS).build() {
        Ok(pool) => pool.install(work),
        // A system that gives no more threads has the work done by those that there are.
        Err(_) => work(),
    }
}
