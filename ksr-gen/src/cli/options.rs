//! The options, a struct for each command; those of BIND's `dnssec-ksr` keep their letters.

use std::path::PathBuf;

use clap::{Args, Parser};
use keystore::exchange::format::Format;

use crate::finding::{Advice, Waiver, Waivers};

/// Make keys and key signing requests of a zone whose KSK is offline, and sign them.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ksr-gen",
    override_usage = "ksr-gen [options] keygen|request|sign <zone>; ksr-gen [options] check <KSR>; ksr-gen [options] import <zone> <key>; ksr-gen [options] token list|check|adopt|update|forget",
    disable_version_flag = true,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "\
Commands:
  keygen   make the ZSKs (with -o the KSKs) that the interval needs and that do not exist yet
  request  print the key signing request (KSR) of the interval
  check    KSR in place of the zone: print what it asks for and what each check says, to be read aloud; exit 1 if one refuses
  sign     check and sign a KSR; print the signed key response (SKR)
  import   a private key of another program behind the zone, in PEM or as a .private file: write .key, .state and .private for it in DIR, as a
           ZSK, or KSK with -o, active since -i TIME
  token    the keys in PKCS#11 tokens, those of the key stores of FILE or of --token:
           token list             each key, and the key files of DIR that name it
           token check [ZONE]     module, token, PIN, and a signature by each key that a key file of DIR names; exit 1 if one fails
           token adopt ZONE KEY   write key files for a key (label, or id:HEX) that is in the token already, as a ZSK, or KSK with -o
           token update [ZONE]    have the key files of DIR name their keys by the URI of the key store: another module, PIN file, token
           token forget KEY       remove a key from the token that no key file of DIR names

Times: now, YYYYMMDD, YYYYMMDDHHMMSS, each with +N or -N and a unit: y, mo (30 days), w, d, h, mi, s.
An offset alone counts from now. Exit codes: 0; 1 error; 2 wrong command line; 3 sign --all has signed the requests of some zones and refused
others; 4 sign: a KSK or its token failed, and nothing is wrong with the request: try again (--all: those of other zones may be signed)."
)]
pub(super) struct CommandLine {
    #[command(flatten)]
    pub(super) common: CommonOptions,
    #[command(flatten, next_help_heading = "keygen")]
    pub(super) keygen: KeygenOptions,
    #[command(flatten, next_help_heading = "request")]
    pub(super) request: RequestOptions,
    #[command(flatten, next_help_heading = "check")]
    pub(super) check: CheckOptions,
    #[command(flatten, next_help_heading = "sign")]
    pub(super) sign: SignOptions,
    #[command(flatten, next_help_heading = "token")]
    pub(super) token: TokenOptions,
    #[command(flatten, next_help_heading = "check and sign")]
    pub(super) ceremony: CeremonyOptions,
    #[command(flatten, next_help_heading = "To go on where ksr-gen refuses by default")]
    pub(super) allow: AllowOptions,

    /// Command and zone
    #[arg(value_name = "COMMAND ZONE", hide = true)]
    pub(super) words: Vec<String>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct CommonOptions {
    /// Name of the dnssec-policy
    #[arg(short = 'k', long = "policy", value_name = "POLICY")]
    pub(super) policy: Option<String>,
    /// File with the policy: a named.conf, or TOML. Where it has a table [pair], only the active host makes keys and requests
    #[arg(short = 'l', long = "config", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Start of the interval [default: now]
    #[arg(short = 'i', long = "start", value_name = "TIME", allow_hyphen_values = true)]
    pub(super) start: Option<String>,
    /// End of the interval
    #[arg(short = 'e', long = "end", value_name = "TIME", allow_hyphen_values = true)]
    pub(super) end: Option<String>,
    /// Key folder
    #[arg(short = 'K', long = "key-directory", value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
    /// Largest TTL in the zone, where it is above max-zone-ttl of the policy (604800, 1w): caches hold signatures for so long. Known
    /// beside an offline-ksk.toml, and from a request that names it
    #[arg(long, value_name = "DURATION")]
    pub(super) largest_ttl: Option<String>,
    /// Form of the output of request and sign: bind, knot or xml [default: bind; for sign that of the KSR]
    #[arg(long = "format", value_name = "FORM")]
    pub(super) format: Option<Format>,
    /// request, check, sign: all zones at once, in one file (request: all or nothing; sign: those that are not refused): those of the [[zone]] tables when FILE is an offline-ksk.toml,
    /// else those with keys in DIR; sign takes those of the KSR
    #[arg(long)]
    pub(super) all: bool,
    /// Write the output to FILE, whole or not at all, instead of standard output
    #[arg(short = 'O', long = "output", value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Say more
    #[arg(short = 'v', long = "verbose", value_name = "LEVEL", default_value = "0")]
    pub(super) verbosity: String,
    /// FIPS mode (not available)
    #[arg(short = 'F', long = "fips")]
    pub(super) fips: bool,
    /// OpenSSL engine (not available)
    #[arg(short = 'E', long = "engine", value_name = "ENGINE")]
    pub(super) engine: Option<String>,
    /// Print this text
    #[arg(short = 'h', long = "help")]
    pub(super) help: bool,
    /// Print the version
    #[arg(short = 'V', long = "version")]
    pub(super) version: bool,
}

/// Options of `keygen`.
#[derive(Debug, Clone, Args)]
pub(super) struct KeygenOptions {
    /// Make KSKs instead of ZSKs
    #[arg(short = 'o', long = "ksk")]
    pub(super) ksk: bool,
    /// One standby key for each entry of the policy, published from the start on, that signs nothing before it is told to
    #[arg(long)]
    pub(super) standby: bool,
    /// DNSKEY or DS records of keys of the zone that are elsewhere, such as the KSK or another provider's ZSKs: no new key gets a tag of
    /// theirs, nor one that they get once revoked. Those of the zone in an offline-ksk.toml are known. May be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) other_keys: Vec<PathBuf>,
}

/// Options of `request`.
#[derive(Debug, Clone, Args)]
pub(super) struct RequestOptions {
    /// No proof of possession; the KSR is then octet by octet that of dnssec-ksr
    #[arg(long)]
    pub(super) no_pop: bool,
    /// Also the ZSKs of this folder, in every bundle (the request for an emergency SKR); may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) spare: Vec<PathBuf>,
}

/// Options of `check` alone.
#[derive(Debug, Clone, Args)]
pub(super) struct CheckOptions {
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Judge as at TIME, in place of the time of the clock
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) now: Option<String>,
}

/// Options of `sign` alone.
#[derive(Debug, Clone, Args)]
pub(super) struct SignOptions {
    /// KSR to sign; - reads standard input. Several are merged: those of all providers of a zone (RFC 8901 model 1)
    #[arg(short = 'f', long = "ksr", value_name = "FILE")]
    pub(super) ksr: Vec<PathBuf>,
    /// Do not show the report and ask, where a person could answer; token forget: remove the key without asking
    #[arg(short = 'y', long)]
    pub(super) yes: bool,
}

/// Options of `token`.
#[derive(Debug, Clone, Args)]
pub(super) struct TokenOptions {
    /// The key store of FILE whose token is meant, where there are several
    #[arg(long, value_name = "NAME")]
    pub(super) store: Option<String>,
    /// The token itself, in place of a key store: a PKCS#11 URI without a key
    #[arg(long, value_name = "URI", conflicts_with = "store")]
    pub(super) token: Option<String>,
}

/// Options of `check` and `sign`: what the ceremony knows beside the request.
#[derive(Debug, Clone, Args)]
pub(super) struct CeremonyOptions {
    /// The SKR before, which the request must follow; KSKs that it holds back stay
    #[arg(long = "previous", value_name = "FILE")]
    pub(super) previous: Option<PathBuf>,
    /// DS records that the parent has now (dig +noall +answer DS ZONE); lets a replaced KSK leave
    #[arg(long, value_name = "FILE")]
    pub(super) parent_ds: Option<PathBuf>,
    /// When --parent-ds was seen [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) parent_ds_seen: Option<String>,
    /// Your word that the parent has the DS of the KSK with this tag, in place of --parent-ds; may be repeated
    #[arg(long, value_name = "TAG", conflicts_with = "parent_ds")]
    pub(super) parent_has: Vec<u16>,
    /// The ZSK with this tag is new in the first bundle of the request, and may be: a provider joins, or a spare ZSK is brought in; may be
    /// repeated
    #[arg(long, value_name = "TAG")]
    pub(super) new_zsk: Vec<u16>,
    /// The ZSK with this tag is missing in the first bundle of the request, and may be: a provider leaves, or a ZSK is given up; may be
    /// repeated
    #[arg(long, value_name = "TAG")]
    pub(super) gone_zsk: Vec<u16>,
    /// How long signatures by a ZSK stay in the zone after its replacement [default: 0 for a KSR by Knot, which re-signs at once; else
    /// signatures-validity less signatures-refresh of the policy, as with named]
    #[arg(long, value_name = "DURATION")]
    pub(super) resign_time: Option<String>,
    /// From TIME on, CDS and CDNSKEY ask the parent to remove the DS (RFC 8078): the zone becomes insecure
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) cds_delete: Option<String>,
}

/// Each refusal that can be waived, by the command that refuses.
#[derive(Debug, Clone, Args)]
pub(super) struct AllowOptions {
    /// Accept an interval of more than 20 years
    #[arg(long = "allow-long-interval")]
    pub(super) long_interval: bool,
    /// keygen: leave times without an active key, as dnssec-ksr does
    #[arg(long = "allow-holes")]
    pub(super) holes: bool,
    /// keygen: make ZSKs in a folder of another user, who cannot read them before they are given to that user
    #[arg(long = "allow-other-owner")]
    pub(super) other_owner: bool,
    /// request: accept times at which no ZSK is active
    #[arg(long = "allow-inactive-zsk")]
    pub(super) inactive_zsk: bool,
    /// sign: keys with flags other than 256
    #[arg(long = "allow-foreign-flags")]
    foreign_flags: bool,
    /// sign: keys of an algorithm or size that the policy does not have
    #[arg(long = "allow-foreign-algorithms")]
    foreign_algorithms: bool,
    /// sign: bundles for which no KSK is active, unsigned
    #[arg(long = "allow-unsigned")]
    unsigned: bool,
    /// sign: let the ZSKs of the key folder sign as KSKs
    #[arg(long = "allow-zsk-as-ksk")]
    zsk_as_ksk: bool,
    /// sign: a KSR with bundles behind the end; as with dnssec-ksr, the last one is lost
    #[arg(long = "allow-beyond-end")]
    beyond_end: bool,
    /// sign: KSKs come and go by their times alone, as with dnssec-ksr; the zone breaks if the parent is late
    #[arg(long = "allow-unconfirmed-ksk-roll")]
    unconfirmed_ksk_roll: bool,
    /// sign: keys without proof of possession, as in a KSR by dnssec-ksr or keymgr
    #[arg(long = "allow-no-pop")]
    no_possession: bool,
    /// sign: merged requests whose DNSKEY answer is larger than 4096 octets
    #[arg(long = "allow-large-answer")]
    pub(super) large_answer: bool,
    /// sign: an end far behind that of the request, or far ahead
    #[arg(long = "allow-long-span")]
    long_span: bool,
    /// sign: a request that does not follow the SKR of --previous
    #[arg(long = "allow-broken-chain")]
    broken_chain: bool,
    /// sign: an SKR that does not prove good for every cache at every second
    #[arg(long = "allow-unproven")]
    unproven: bool,
    /// sign: two keys of one bundle with one key tag
    #[arg(long = "allow-tag-collision")]
    tag_collision: bool,
}

impl AllowOptions {
    /// The checks of a request that were waived.
    pub(super) fn waivers(&self) -> Waivers {
        let given = [
            (self.foreign_flags, Waiver::ForeignFlags),
            (self.foreign_algorithms, Waiver::ForeignAlgorithms),
            (self.unsigned, Waiver::Unsigned),
            (self.zsk_as_ksk, Waiver::ZskAsKsk),
            (self.beyond_end, Waiver::BeyondEnd),
            (self.tag_collision, Waiver::TagCollision),
            (self.unconfirmed_ksk_roll, Waiver::UnconfirmedKskRoll),
            (self.long_span, Waiver::LongSpan),
            (self.broken_chain, Waiver::BrokenChain),
            (self.unproven, Waiver::Unproven),
            (self.no_possession, Waiver::NoPossession),
        ];
        given.into_iter().filter_map(|(given, waiver)| given.then_some(waiver)).collect()
    }
}

/// The option that waives a check.
pub(super) const fn waiver_flag(waiver: Waiver) -> &'static str {
    match waiver {
        Waiver::ForeignFlags => "--allow-foreign-flags",
        Waiver::ForeignAlgorithms => "--allow-foreign-algorithms",
        Waiver::Unsigned => "--allow-unsigned",
        Waiver::ZskAsKsk => "--allow-zsk-as-ksk",
        Waiver::BeyondEnd => "--allow-beyond-end",
        Waiver::TagCollision => "--allow-tag-collision",
        Waiver::UnconfirmedKskRoll => "--allow-unconfirmed-ksk-roll",
        Waiver::LongSpan => "--allow-long-span",
        Waiver::BrokenChain => "--allow-broken-chain",
        Waiver::Unproven => "--allow-unproven",
        Waiver::NoPossession => "--allow-no-pop",
    }
}

/// The options that follow an advice.
pub(super) fn advice_text(advice: Advice) -> String {
    match advice {
        Advice::GiveEnd(None) => "give the end of the request with -e".to_owned(),
        Advice::GiveEnd(Some(end)) => format!("give -e {end}"),
        Advice::GiveKskFolder => "give the folder of the KSKs with -K".to_owned(),
        Advice::MakeKsk => "make a KSK for it (keygen -o)".to_owned(),
        Advice::MoveKskTimes(at) => format!(
            "let it begin earlier (dnssec-settime -s -P {at} -A {at}), ask for a request that begins when it does (request -i), or make another KSK for the time before (keygen -o)"
        ),
        Advice::GiveParentDs => {
            "once the parent has the DS of its successor, give it with --parent-ds".to_owned()
        }
        Advice::GiveSignerDelays => "give those of the signer of this zone: max-zone-ttl and zone-propagation-delay in the policy, --resign-time for the time until it is re-signed (0 for Knot, which re-signs at once)".to_owned(),
        Advice::NameNewZsk(tag) => format!("if it may be new there, say so: --new-zsk {tag}"),
        Advice::NameGoneZsk(tag) => format!("if it may be missing, say so: --gone-zsk {tag}"),
        Advice::GivePrevious => "give the SKR before with --previous".to_owned(),
        Advice::GivePreviousOrParentDs => {
            "give the SKR before (--previous) or what the parent has (--parent-ds)".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn each_waiver_has_the_option_that_its_flag_names() {
        let waivers = [
            Waiver::ForeignFlags,
            Waiver::ForeignAlgorithms,
            Waiver::Unsigned,
            Waiver::ZskAsKsk,
            Waiver::BeyondEnd,
            Waiver::TagCollision,
            Waiver::UnconfirmedKskRoll,
            Waiver::LongSpan,
            Waiver::BrokenChain,
            Waiver::Unproven,
            Waiver::NoPossession,
        ];
        for waiver in waivers {
            let line = CommandLine::try_parse_from(["ksr-gen", waiver_flag(waiver)]).expect("an option");
            assert_eq!(line.allow.waivers(), Waivers::NONE.with(waiver), "{waiver:?}");
        }
    }

    #[test]
    fn letters_are_those_of_dnssec_ksr_and_two_of_our_own() {
        let mut letters: Vec<char> =
            CommandLine::command().get_arguments().filter_map(clap::Arg::get_short).collect();
        letters.sort_unstable();
        assert_eq!(letters.iter().collect::<String>(), "EFKOVefhiklovy");
    }
}
