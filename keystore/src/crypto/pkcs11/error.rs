//! What goes wrong between us and a token.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::UriError;
use crate::crypto::Algorithm;

/// Why a token did not do what was asked. No variant holds a PIN.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TokenError {
    /// The feature `pkcs11` is off.
    #[error(
        "this program is built without PKCS#11; build it with the feature `pkcs11`, or use a key in a file"
    )]
    NotBuilt,
    /// The URI does not read.
    #[error("PKCS#11 URI: {0}")]
    #[serde(skip)]
    Uri(#[from] UriError),
    /// The URI of a key store names a key.
    #[error("PKCS#11 URI of a key store: it names a token, not a key; leave out object and id")]
    UriOfKey,
    /// No module.
    #[error(
        "no PKCS#11 module is named; add `?module-path=FILE` to the URI, or set PKCS11_MODULE to the library of the HSM"
    )]
    NoModule,
    /// `module-name` leads nowhere.
    #[error("no PKCS#11 module `{0}` in the usual folders; give its path with module-path")]
    ModuleName(String),
    /// The module cannot be used.
    #[error("PKCS#11 module {}: {what}", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// No token matches.
    #[error("no token matches {wanted}; {}; is the HSM connected?", listed(.present))]
    NoToken {
        /// The URI.
        wanted: String,
        /// Labels of the tokens that are there.
        present: Vec<String>,
    },
    /// Several tokens match.
    #[error("{wanted} matches {} tokens ({}); name one with token= or serial=", .present.len(), .present.join(", "))]
    ManyTokens {
        /// The URI.
        wanted: String,
        /// Label and serial number of those that match.
        present: Vec<String>,
    },
    /// The file of `pin-source` is unfit.
    #[error("PIN file {}: {what}", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        what: Cow<'static, str>,
    },
    /// The file of `pin-source` cannot be read.
    #[error("PIN file {}: {source}", path.display())]
    PinFileIo {
        /// The file.
        path: PathBuf,
        /// Error of the system call that failed.
        #[serde(with = "io_error")]
        source: std::io::Error,
    },
    /// Nobody can be asked.
    #[error(
        "token `{token}` needs a PIN; name a file with it in the URI (pin-source=FILE), or run this on a terminal"
    )]
    NoPin {
        /// Its label.
        token: String,
    },
    /// Asking failed.
    #[error(
        "token `{token}` needs a PIN, and asking for it failed: {source}; or name a file in the URI (pin-source=FILE)"
    )]
    Prompt {
        /// Its label.
        token: String,
        /// Error of the system call that failed.
        #[serde(with = "io_error")]
        source: std::io::Error,
    },
    /// Wrong PIN.
    #[error("token `{token}`: the PIN is wrong{}", tries(*.last_try, *.locked))]
    WrongPin {
        /// Its label.
        token: String,
        /// One more wrong PIN locks it.
        last_try: bool,
        /// It is locked now.
        locked: bool,
    },
    /// The same PIN was wrong before.
    #[error(
        "token `{token}`: the PIN was wrong before and is not tried again, so that the token is not locked; correct the PIN file"
    )]
    KnownWrongPin {
        /// Its label.
        token: String,
    },
    /// A PIN from a file is not risked on the last try.
    #[error(
        "token `{token}`: one more wrong PIN locks it, so the PIN file is not tried; log in once by hand (without pin-source the PIN is asked for)"
    )]
    LastTry {
        /// Its label.
        token: String,
    },
    /// Locked.
    #[error(
        "token `{token}`: the PIN is locked after too many wrong ones; the security officer of the token sets a new one"
    )]
    Locked {
        /// Its label.
        token: String,
    },
    /// No such key.
    #[error("token `{token}` has no private {kind} key that matches {wanted}")]
    NoKey {
        /// Its label.
        token: String,
        /// Kind of key.
        kind: Cow<'static, str>,
        /// The URI.
        wanted: String,
    },
    /// Several keys match.
    #[error("token `{token}` has {count} private {kind} keys that match {wanted}; add id= to the URI")]
    ManyKeys {
        /// Its label.
        token: String,
        /// Kind of key.
        kind: Cow<'static, str>,
        /// The URI.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// A new key would have the label of another.
    #[error("token `{token}` has a key with this label: {wanted}")]
    LabelTaken {
        /// Its label.
        token: String,
        /// The URI.
        wanted: String,
    },
    /// A key that wants its PIN for each signature, in a token that cannot hash.
    #[error(
        "token `{token}`: the key wants its PIN for each signature (CKA_ALWAYS_AUTHENTICATE), and then the token must hash what it signs ({mechanism}), which it cannot; make a key without that in the token"
    )]
    AlwaysAuthenticate {
        /// Its label.
        token: String,
        /// PKCS#11 name of the mechanism that it lacks.
        mechanism: Cow<'static, str>,
    },
    /// Not a thing that the token can.
    #[error(
        "token `{token}` cannot do {mechanism}, which algorithm {algorithm} needs; choose another algorithm or HSM"
    )]
    Mechanism {
        /// Its label.
        token: String,
        /// PKCS#11 name.
        mechanism: Cow<'static, str>,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// No keys of this algorithm in tokens.
    #[error("keys of algorithm {0} in tokens are not supported; 8, 10, 13, 14 and 15 are")]
    Algorithm(Algorithm),
    /// It takes no new keys.
    #[error("token `{token}` is read-only, so no key can be made in it")]
    ReadOnly {
        /// Its label.
        token: String,
    },
    /// It gave something else than asked for.
    #[error("token `{token}` gave a bad answer: {what}; do not use it before the cause is known")]
    BadAnswer {
        /// Its label.
        token: String,
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
    /// It is gone.
    #[error(
        "token `{token}` is gone or was reset while in use, or its module cannot go on ({code}); connect it and begin again"
    )]
    Gone {
        /// Its label.
        token: String,
        /// Function and return value of PKCS#11.
        code: String,
    },
    /// Its process does not start.
    #[error("PKCS#11 module {}: its process does not start: {source}", module.display())]
    Process {
        /// The library.
        module: PathBuf,
        /// Error of the system call that failed.
        #[serde(with = "io_error")]
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error(
        "PKCS#11 module {}: no answer within {seconds} s to {doing}; its process was ended, and is started again at the next try", module.display()
    )]
    NoAnswer {
        /// The library.
        module: PathBuf,
        /// What was tried.
        doing: Cow<'static, str>,
        /// The deadline, in seconds.
        seconds: u64,
    },
    /// It ended its process.
    #[error(
        "PKCS#11 module {}: its process ended ({how}), and is started again at the next try; ask the maker of the HSM if this goes on", module.display()
    )]
    Ended {
        /// The library.
        module: PathBuf,
        /// Exit status or signal.
        how: String,
    },
    /// It takes longer than a daemon waits.
    #[error("PKCS#11 module {} is still opening the token; the next try will see", module.display())]
    NotYet {
        /// The library.
        module: PathBuf,
    },
    /// Its process ended while it logged in, more than once.
    #[error(
        "PIN file {}: {count} logins with it in a row came to no end, so that the PIN may be wrong; it is not tried again, lest the token be locked. Make sure of the PIN and write the file anew, or start this program again", path.display()
    )]
    LoginUnfinished {
        /// The file with the PIN.
        path: PathBuf,
        /// How many.
        count: u8,
    },
    /// It failed just now.
    #[error("PKCS#11 module {} is not asked for some seconds: {why}", module.display())]
    Resting {
        /// The library.
        module: PathBuf,
        /// The error that led to this.
        why: String,
    },
    /// Anything else.
    #[error("token `{token}`: {doing} failed: {code}")]
    Failed {
        /// Its label.
        token: String,
        /// What was tried.
        doing: Cow<'static, str>,
        /// Function and return value of PKCS#11.
        code: String,
    },
}

impl TokenError {
    /// The error with the name of a module in place of that of a token, where the token is not known.
    #[cfg(feature = "pkcs11")]
    pub(super) fn or_of(mut self, module: &std::path::Path) -> Self {
        if let Self::Failed { token, .. } | Self::BadAnswer { token, .. } | Self::KnownWrongPin { token } =
            &mut self
            && token.is_empty()
        {
            *token = format!("of {}", module.display());
        }
        self
    }

    /// True when another try may go well although nobody mends anything in the key files: the token or its module is not there or not
    /// ready, or the PIN file cannot be read. Whatever is wrong with a PIN is never passing, so that no retry locks a token.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Module { .. }
            | Self::NoToken { .. }
            | Self::PinFileIo { .. }
            | Self::Gone { .. }
            | Self::Process { .. }
            | Self::NoAnswer { .. }
            | Self::Ended { .. }
            | Self::NotYet { .. }
            | Self::Resting { .. }
            | Self::Failed { .. } => true,
            Self::NotBuilt
            | Self::Uri(_)
            | Self::UriOfKey
            | Self::NoModule
            | Self::ModuleName(_)
            | Self::ManyTokens { .. }
            | Self::PinFile { .. }
            | Self::NoPin { .. }
            | Self::Prompt { .. }
            | Self::WrongPin { .. }
            | Self::KnownWrongPin { .. }
            | Self::LastTry { .. }
            | Self::LoginUnfinished { .. }
            | Self::Locked { .. }
            | Self::NoKey { .. }
            | Self::ManyKeys { .. }
            | Self::LabelTaken { .. }
            | Self::AlwaysAuthenticate { .. }
            | Self::Mechanism { .. }
            | Self::Algorithm(_)
            | Self::ReadOnly { .. }
            | Self::BadAnswer { .. } => false,
        }
    }
}

fn listed(labels: &[String]) -> String {
    match labels {
        [] => "there is none".to_owned(),
        labels => format!("there are: {}", labels.join(", ")),
    }
}

fn tries(last: bool, locked: bool) -> &'static str {
    match (locked, last) {
        (true, _) => ", and the token is locked now; its security officer sets a new PIN",
        (_, true) => "; ONE MORE WRONG PIN LOCKS THE TOKEN",
        _ => "; tokens lock after a few wrong ones, so make sure of it before the next try",
    }
}

/// Function and return value, without cryptoki's explanations, which quote the standard at length.
#[cfg(feature = "pkcs11")]
pub(super) fn code(error: &cryptoki::error::Error) -> String {
    match error {
        cryptoki::error::Error::Pkcs11(value, function) => format!("C_{function:?}: {value:?}"),
        other => other.to_string(),
    }
}

/// An [`std::io::Error`] as its number and its words.
mod io_error {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        (error.raw_os_error(), error.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        let (number, text) = <(Option<i32>, String)>::deserialize(from)?;
        Ok(number.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error))
    }
}
