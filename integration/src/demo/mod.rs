//! `offline-ksk demo`: the whole job in one folder, from two empty sides to validated answers.
//!
//! The steps are those of a real ceremony, by the same code as the programs: `ksr-gen` on both sides, the loader's inbox,
//! and `serve`. The check at the end asks the server through an independent validator.

pub mod zone;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keystore::clock;
use keystore::dns::{Name, Rtype, rdata};
use keystore::durable;
use keystore::keys::files;
use keystore::store;
use keystore::time::Timestamp;
use skr_loader::service;

use crate::serve::ServeProcess;
use crate::validator::Validator;

/// How long the demo waits until the dropped SKR is in force and the zone is served.
const PATIENCE: Duration = Duration::from_secs(20);

/// The policy of both sides. BIND's defaults, but for the ZSK that rolls every two months.
const POLICY: &str = "\
[policy.demo]
offline-ksk = true
keys = [
  { role = \"ksk\", lifetime = \"unlimited\", algorithm = \"ecdsap256sha256\" },
  { role = \"zsk\", lifetime = \"P2M\", algorithm = \"ecdsap256sha256\" },
]
";

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// End after the check: exit status 0 when every answer validates, else 1
    #[arg(long)]
    once: bool,
    /// Work in DIR (made if missing, must be empty) and leave the files there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo.
pub fn run(options: &Options) -> Result<ExitCode> {
    let temp;
    let dir = match &options.keep {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            if std::fs::read_dir(dir)
                .with_context(|| format!("cannot read {}", dir.display()))?
                .next()
                .is_some()
            {
                bail!("{} is not empty; give an empty or a new folder", dir.display());
            }
            dir.canonicalize()?
        }
        None => {
            temp = tempfile::Builder::new().prefix("offline-ksk-demo.").tempdir()?;
            temp.path().to_owned()
        }
    };
    let sides = Sides::new(&dir)?;
    outln!("offline-ksk demo in {}", dir.display());

    let ksk = sides.make_ksk()?;
    outln!("  offline side   KSK made: {ksk}");
    let anchor = sides.publish_anchor()?;
    outln!("  parent         DS {}", rdata::to_text(Rtype::DS, &anchor, None));

    let serving = ServeProcess::start(&sides.config)?;
    let request = sides.request()?;
    outln!(
        "  online side    {} ZSKs made, request written for {} key sets: {}",
        request.zsks,
        request.bundles,
        request.path.display()
    );
    outln!("  ceremony       {}", sides.sign(&request)?);
    let dns = *serving.dns().first().context("the configuration has no address to serve on")?;
    let metrics = serving.metrics().context("the configuration has no address for metrics")?;
    std::fs::rename(&sides.skr, sides.online.join("inbox/demo.skr"))
        .context("cannot drop the SKR into the inbox")?;
    outln!("  online side    SKR dropped into the inbox");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let anchor_text = format!("{} 3600 IN DS {}", zone::NAME, rdata::to_text(Rtype::DS, &anchor, None));
    let failures = runtime.block_on(check(dns, &anchor_text))?;

    let (ip, port) = (dns.ip(), dns.port());
    let anchor_file = sides.dir.join("bind.keys");
    outln!("  try            dig @{ip} -p {port} www.{} A +dnssec", zone::NAME);
    outln!(
        "                 delv @{ip} -p {port} -a {} +root={} www.{1} A",
        anchor_file.display(),
        zone::NAME
    );
    outln!("  metrics        http://{metrics}/metrics");
    if failures > 0 {
        outln!("{failures} answers are not as they must be; the log above says more");
        return Ok(ExitCode::FAILURE);
    }
    if options.once {
        until_answered(&request.path)?;
    } else {
        outln!("serving until Ctrl-C");
        service::run_until_stopped(&mut service::signals()?, "serving", || serving.reload());
    }
    serving.stop();
    Ok(ExitCode::SUCCESS)
}

/// Waits until the request timer has seen that its request is answered, so that what the demo leaves behind says so.
fn until_answered(request: &Path) -> Result<()> {
    let start = Instant::now();
    while request.exists() {
        if start.elapsed() > PATIENCE {
            bail!("{} is not seen to be answered after {PATIENCE:?}", request.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until the zone is served, then asks one question of each kind; gives the number of wrong answers.
async fn check(dns: SocketAddr, anchor: &str) -> Result<usize> {
    let validator = Validator::new(dns, anchor)?;
    let start = Instant::now();
    let serial = loop {
        match validator.serial(zone::NAME).await {
            Ok(Some(serial)) => break serial,
            _ if start.elapsed() > PATIENCE => bail!("the zone is not served {PATIENCE:?} after the drop"),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    outln!(
        "  online side    accepted, signed and served with serial {serial} on {dns}, {:.1} s after the drop",
        start.elapsed().as_secs_f64()
    );
    let mut failures = 0;
    for question in zone::QUESTIONS {
        if let Err(error) = ask(&validator, question).await {
            failures += 1;
            outln!("  WRONG          {}: {} {}: {error:#}", question.kind, question.name, question.rtype);
        }
    }
    for (kind, name, cut) in zone::REFERRALS {
        if let Err(error) = validator.referral(name, cut).await {
            failures += 1;
            outln!("  WRONG          {kind}: {name}: {error:#}");
        }
    }
    let referrals = zone::REFERRALS.iter().map(|(kind, ..)| *kind);
    let kinds: Vec<&str> = zone::QUESTIONS.iter().map(|q| q.kind).chain(referrals).collect();
    outln!(
        "  validator      {} of {} answers hold: {}",
        kinds.len() - failures,
        kinds.len(),
        kinds.join("; ")
    );
    Ok(failures)
}

async fn ask(validator: &Validator, question: &zone::DemoQuestion) -> Result<()> {
    let got = validator.ask(question.name, question.rtype).await?;
    if got.state != question.state {
        bail!("{:?} instead of {:?} ({})", got.state, question.state, got.reason.unwrap_or_default());
    }
    if got.rcode != question.rcode || got.authoritative != question.authoritative {
        bail!(
            "{} aa={} instead of {} aa={}",
            got.rcode,
            got.authoritative,
            question.rcode,
            question.authoritative
        );
    }
    let has = |rtype: &str| got.answer.iter().any(|r| r.split(' ').nth(2) == Some(rtype));
    match question.answers {
        Some(rtype) if !has(&rtype.to_string()) => bail!("no {rtype} in the answer: {:?}", got.answer),
        None if !got.answer.is_empty() => bail!("an answer where there is none: {:?}", got.answer),
        _ => Ok(()),
    }
}

/// The folders and files of the two sides.
struct Sides {
    dir: PathBuf,
    offline: PathBuf,
    online: PathBuf,
    config: PathBuf,
    policy: PathBuf,
    skr: PathBuf,
    zone: Name,
    start: Timestamp,
}

impl Sides {
    fn new(dir: &Path) -> Result<Self> {
        let sides = Self {
            dir: dir.to_owned(),
            offline: dir.join("offline"),
            online: dir.join("online"),
            config: dir.join("online/offline-ksk.toml"),
            policy: dir.join("policy.toml"),
            skr: dir.join("ceremony/demo.skr"),
            zone: Name::parse(zone::NAME)?,
            // Two days back: the KSK has been published for long enough to have its CDS records.
            start: clock::now().minus(2 * 86_400),
        };
        for folder in ["offline", "ceremony", "online/keys", "online/inbox"] {
            std::fs::create_dir_all(dir.join(folder))?;
        }
        write(&sides.policy, POLICY)?;
        write(&dir.join("online/demo.example.zone"), zone::FILE)?;
        write(
            &sides.config,
            &format!(
                "version = 1\nstate-dir = \".\"\n\n[[zone]]\nname = \"{zone}\"\npolicy = \"demo\"\nfile = \"demo.example.zone\"\n\
                 trust-anchor-file = \"anchor\"\n\n[signer]\nlisten = [\"127.0.0.1:0\"]\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n\n{POLICY}",
                zone = zone::NAME
            ),
        )?;
        Ok(sides)
    }

    /// Runs `ksr-gen` as on the command line; gives what it prints.
    fn ksr_gen(&self, arguments: &[&str], files: &[(&str, &Path)]) -> Result<String> {
        let mut line: Vec<OsString> =
            ["ksr-gen", "-k", "demo", "-l"].into_iter().map(OsString::from).collect();
        line.push(self.policy.clone().into());
        for (option, path) in files {
            line.push(option.into());
            line.push(path.into());
        }
        let end = self.start.plus(184 * 86_400).to_string();
        let start = self.start.to_string();
        line.extend(
            ["-i", &start, "-e", &end].into_iter().chain(arguments.iter().copied()).map(OsString::from),
        );
        line.push(zone::NAME.into());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut env = ksr_gen::cli::Env {
            now: clock::now(),
            stdin: &mut std::io::empty(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: false,
            interactive: false,
        };
        let code = ksr_gen::cli::run(line.clone(), &mut env);
        if code != 0 {
            bail!("{line:?} ends with exit status {code}: {}", String::from_utf8_lossy(&stderr));
        }
        Ok(String::from_utf8(stdout)?)
    }

    fn make_ksk(&self) -> Result<String> {
        Ok(self.ksr_gen(&["-o", "keygen"], &[("-K", &self.offline)])?.trim().to_owned())
    }

    /// Writes the DS of the KSK where the online side and `delv` read it, and gives its RDATA.
    fn publish_anchor(&self) -> Result<Vec<u8>> {
        let found = files::find(&self.offline, &self.zone)?;
        let ksk =
            found.keys.iter().find(|key| key.dnskey.is_ksk()).context("no KSK in the offline folder")?;
        let ds = ksk.dnskey.ds_rdata(&self.zone, 2).context("digest type 2 is SHA-256")?;
        let text = rdata::to_text(Rtype::DS, &ds, None);
        write(&self.online.join("anchor"), &format!("{} IN DS {text}\n", self.zone))?;
        let fields: Vec<&str> = text.splitn(4, ' ').collect();
        let &[tag, algorithm, digest_type, digest] = fields.as_slice() else {
            bail!("a DS has four fields: {text}")
        };
        write(
            &self.dir.join("bind.keys"),
            &format!(
                "trust-anchors {{ \"{}\" static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n",
                self.zone
            ),
        )?;
        Ok(ds)
    }

    /// Waits for the request that the daemon writes: it makes the ZSKs and asks for half a year by itself.
    fn request(&self) -> Result<Request> {
        let outbox = store::zone_dir(&self.online.join("outbox"), &self.zone);
        let start = Instant::now();
        let path = loop {
            let entries =
                std::fs::read_dir(&outbox).into_iter().flatten().flatten().map(|entry| entry.path());
            match entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "ksr")) {
                Some(path) => break path,
                None if start.elapsed() > PATIENCE => {
                    bail!("no request in {} after {PATIENCE:?}", outbox.display())
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let ksr = keystore::exchange::bind::parse_ksr(&std::fs::read(&path)?, &self.zone)?;
        let zsks: std::collections::BTreeSet<_> =
            ksr.bundles.iter().flat_map(|bundle| &bundle.keys).collect();
        Ok(Request { bundles: ksr.bundles.len(), zsks: zsks.len(), path })
    }

    /// The ceremony: the KSK signs the request.
    fn sign(&self, request: &Request) -> Result<String> {
        let skr = self.ksr_gen(&["sign"], &[("-K", &self.offline), ("-f", &request.path)])?;
        write(&self.skr, &skr)?;
        let bundles = keystore::exchange::bind::parse_skr(skr.as_bytes(), &self.zone)?.bundles;
        let last = bundles.last().context("an SKR without bundles")?;
        Ok(format!("{} bundles signed, until {}", bundles.len(), last.expiration().iso()))
    }
}

/// The request in the outbox.
struct Request {
    path: PathBuf,
    bundles: usize,
    zsks: usize,
}

fn write(path: &Path, text: &str) -> Result<()> {
    durable::write(path, text.as_bytes(), 0o644).with_context(|| format!("cannot write {}", path.display()))
}
