//! The queries in the octets of a connection, each behind its length (RFC 1035 section 4.2.2), and the answers behind theirs.

use std::net::SocketAddr;

use super::front::{Batch, LookAheadGain, Received, Route};
use super::limits::MAX_QUERY;
use crate::answer::MOST_AHEAD;
use crate::answer::query::HEADER;

/// Octets of the length in front of a message.
pub(super) const PREFIX: usize = 2;
/// Octets of answers after which no more queries are looked at before these are written.
const MOST_WAITING: usize = 16_384;

/// Queries that were received together, and their answers.
pub(super) struct StreamQueries<'a> {
    octets: &'a [u8],
    client: SocketAddr,
    answer: &'a mut Vec<u8>,
    output: &'a mut Vec<u8>,
    /// Where the current query begins and ends.
    start: usize,
    end: usize,
    gain: LookAheadGain,
    /// How the batch has ended.
    end_of_batch: Option<BatchEnd>,
}

/// Why the queries behind the last one of a batch are not looked at.
pub(super) enum BatchEnd {
    /// The next message is not whole yet.
    Incomplete,
    /// The answers must be written first.
    Full,
    /// The last query is for a name that is not ours.
    Others(Vec<u8>),
    /// The last query has an answer of several messages, or the right to one must be waited for.
    Transfer(Box<crate::transfer::request::Outgoing>),
    /// The answer to the last query comes later.
    Update(Box<crate::transfer::update::WaitingUpdate>),
    /// The last query deserves no answer, or is longer than any: the connection has to end.
    Close,
}

impl<'a> StreamQueries<'a> {
    /// Of `octets`; answers are appended to `output`, each is made in `answer`.
    pub fn new(
        octets: &'a [u8],
        client: SocketAddr,
        answer: &'a mut Vec<u8>,
        output: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            octets,
            client,
            answer,
            output,
            start: 0,
            end: 0,
            gain: LookAheadGain::default(),
            end_of_batch: None,
        }
    }

    /// The number of octets that were looked at, and how the batch has ended.
    pub fn finish(self) -> (usize, BatchEnd) {
        (self.end, self.end_of_batch.unwrap_or(BatchEnd::Incomplete))
    }

    /// Goes on to the next message; else why not.
    fn next(&mut self) -> Result<(), BatchEnd> {
        if self.output.len() >= MOST_WAITING {
            return Err(BatchEnd::Full);
        }
        let message = first_message(self.octets.get(self.end..).unwrap_or_default())?;
        self.start = self.end + PREFIX;
        self.end = self.start + message.len();
        Ok(())
    }
}

/// The message that `octets` begin with, behind its length; else why there is none.
fn first_message(octets: &[u8]) -> Result<&[u8], BatchEnd> {
    let Some((prefix, rest)) = octets.split_first_chunk::<PREFIX>() else { return Err(BatchEnd::Incomplete) };
    let len = usize::from(u16::from_be_bytes(*prefix));
    if !(HEADER..=MAX_QUERY).contains(&len) {
        return Err(BatchEnd::Close);
    }
    rest.get(..len).ok_or(BatchEnd::Incomplete)
}

impl Batch for StreamQueries<'_> {
    fn advance(&mut self) -> bool {
        if self.end_of_batch.is_none()
            && let Err(end) = self.next()
        {
            self.end_of_batch = Some(end);
        }
        self.end_of_batch.is_none()
    }

    fn current(&mut self) -> Received<'_> {
        let query = self.octets.get(self.start..self.end).unwrap_or_default();
        Received { query, client: self.client, out: self.answer }
    }

    fn put(&mut self, route: Route) {
        self.gain.count(&route, self.answer);
        match route {
            Route::Answered => put_message(self.output, self.answer),
            Route::Others => {
                let query = self.octets.get(self.start..self.end).unwrap_or_default();
                self.end_of_batch = Some(BatchEnd::Others(query.to_vec()));
            }
            Route::Transfer(outgoing) => self.end_of_batch = Some(BatchEnd::Transfer(outgoing)),
            Route::Update(update) => self.end_of_batch = Some(BatchEnd::Update(update)),
            Route::Nobody => self.end_of_batch = Some(BatchEnd::Close),
        }
    }

    fn upcoming<'s>(&'s self, room: &mut [&'s [u8]; MOST_AHEAD]) -> usize {
        let mut rest = self.octets.get(self.start.saturating_sub(PREFIX)..).unwrap_or_default();
        let mut count = 0;
        if !self.gain.pays() {
            return count;
        }
        while let Some(place) = room.get_mut(count)
            && let Ok(message) = first_message(rest)
        {
            *place = message;
            rest = &rest[PREFIX + message.len()..];
            count += 1;
        }
        count
    }
}

/// Appends a message that `write` appends behind its length; nothing where that gives false or an error, and `too_long` where the message has
/// more than 65535 octets.
pub(super) fn put_written<E>(
    output: &mut Vec<u8>,
    too_long: E,
    write: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
) -> Result<bool, E> {
    let start = output.len();
    output.extend_from_slice(&[0; PREFIX]);
    let written = match (write(output), u16::try_from(output.len() - start - PREFIX)) {
        (Ok(true), Ok(len)) => {
            output[start..start + PREFIX].copy_from_slice(&len.to_be_bytes());
            return Ok(true);
        }
        (Ok(true), Err(_)) => Err(too_long),
        (others, _) => others,
    };
    output.truncate(start);
    written
}

/// Appends a message, which has at most 65535 octets, behind its length.
pub(super) fn put_message(output: &mut Vec<u8>, message: &[u8]) {
    let Ok(len) = u16::try_from(message.len()) else { return };
    output.extend_from_slice(&len.to_be_bytes());
    output.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each query with its first octet, until one says otherwise.
    fn answer(octets: &[u8], output: &mut Vec<u8>) -> (usize, String) {
        let mut scratch = Vec::new();
        let mut queries =
            StreamQueries::new(octets, "192.0.2.1:53".parse().expect("an address"), &mut scratch, output);
        while queries.advance() {
            let Received { query, out, .. } = queries.current();
            let first = query[0];
            out.clear();
            out.push(first);
            queries.put(match first {
                b'o' => Route::Others,
                b'n' => Route::Nobody,
                _ => Route::Answered,
            });
        }
        let (read, end) = queries.finish();
        let end = match end {
            BatchEnd::Incomplete => "incomplete".to_owned(),
            BatchEnd::Full => "full".to_owned(),
            BatchEnd::Others(query) => format!("others {}", query.len()),
            BatchEnd::Transfer(_) | BatchEnd::Update(_) => "transfer".to_owned(),
            BatchEnd::Close => "close".to_owned(),
        };
        (read, end)
    }

    fn message(first: u8, len: usize) -> Vec<u8> {
        let mut octets = (len as u16).to_be_bytes().to_vec();
        octets.push(first);
        octets.resize(PREFIX + len, 0);
        octets
    }

    #[test]
    fn whole_queries_are_answered_in_order_and_the_rest_is_left() {
        let (a, b) = (message(b'a', 12), message(b'b', 40));
        let both = [&a[..], &b].concat();
        for len in 0..=both.len() {
            let mut output = Vec::new();
            let (read, end) = answer(&both[..len], &mut output);
            let (expected_read, expected): (usize, &[u8]) = match len {
                0..14 => (0, b""),
                14..56 => (14, b"\0\x01a"),
                _ => (56, b"\0\x01a\0\x01b"),
            };
            assert_eq!(
                (read, output.as_slice(), end.as_str()),
                (expected_read, expected, "incomplete"),
                "{len}"
            );
        }
    }

    #[test]
    fn a_query_that_is_not_answered_at_once_ends_the_batch_behind_it() {
        for (middle, end, read) in [
            (message(b'o', 13), "others 13", 29),
            (message(b'n', 12), "close", 28),
            (message(b'x', HEADER - 1), "close", 14),
            (message(b'x', 0)[..2].to_vec(), "close", 14),
            (message(b'x', MAX_QUERY + 1), "close", 14),
            // As soon as its length is known.
            (message(b'x', MAX_QUERY + 1)[..2].to_vec(), "close", 14),
        ] {
            let octets = [&message(b'a', 12)[..], &middle, &message(b'b', 12)].concat();
            let mut output = Vec::new();
            assert_eq!(answer(&octets, &mut output), (read, end.to_owned()), "{end}");
            assert_eq!(output, b"\0\x01a");
        }
    }

    #[test]
    fn a_message_that_is_written_behind_others_stands_behind_its_length_or_is_not_there() {
        for (len, said, expected) in [
            (3, Ok(true), Ok(true)),
            (65_535, Ok(true), Ok(true)),
            (65_536, Ok(true), Err("too long")),
            (3, Ok(false), Ok(false)),
            (3, Err("failed"), Err("failed")),
        ] {
            let mut output = b"before".to_vec();
            let written = put_written(&mut output, "too long", |output| {
                output.resize(output.len() + len, b'x');
                said
            });
            assert_eq!(written, expected, "{len}");
            let mut whole = b"before".to_vec();
            if expected == Ok(true) {
                put_message(&mut whole, &vec![b'x'; len]);
            }
            assert!(output == whole, "{len} {said:?}");
        }
    }

    #[test]
    fn queries_wait_while_many_answers_do() {
        let octets = [&message(b'a', 12)[..], &message(b'b', 12)].concat();
        let mut output = vec![0; MOST_WAITING - 1];
        assert_eq!(answer(&octets, &mut output), (14, "full".to_owned()));
        assert_eq!(output.len(), MOST_WAITING + 2);
        assert_eq!(answer(&octets[14..], &mut Vec::new()), (14, "incomplete".to_owned()));
    }
}
