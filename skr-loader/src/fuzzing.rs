//! What the fuzz targets read that is not public otherwise.

use keystore::dns::{Name, Rtype};

use crate::ask::{self, AnswerFault, AskedServer, RrsetAnswer, ServerReply};
use crate::store::{history, revoked};

/// Reads a reply to a question for `name` and `rtype` with this ID; `authoritative` tells whom it was put to.
pub fn answer(
    reply: &[u8],
    name: &Name,
    rtype: Rtype,
    id: u16,
    authoritative: bool,
) -> Result<RrsetAnswer, AnswerFault> {
    ask::read(
        reply,
        name,
        rtype,
        id,
        if authoritative { AskedServer::Authoritative } else { AskedServer::Resolver },
    )
}

/// Reads all records of a reply.
pub fn reply(reply: &[u8], name: &Name, rtype: Rtype, id: u16) -> Result<ServerReply, AnswerFault> {
    ask::read_all(reply, name, rtype, id)
}

/// How many lines of the file `revoked` read.
#[must_use]
pub fn revoked_lines(text: &str) -> usize {
    text.lines().filter(|line| revoked::is_line(line)).count()
}

/// How many marks the file `replaced` has; `None` when it does not read.
#[must_use]
pub fn replaced_marks(octets: Vec<u8>) -> Option<usize> {
    history::count_replaced(octets)
}
