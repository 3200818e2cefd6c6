//! A request that was checked as far as it can be without the loader, and what the loader does with it.

use std::sync::Arc;

use keystore::dns::Name;
use keystore::time::Timestamp;

use super::{Answer, ImportReport, Request};
use crate::Loader;
use crate::files::one_line;
use crate::inbox::Dropped;
use crate::loader::Import;
use crate::operator::Operator;
use crate::order::{Execution, Order, OrderError, ReasonRule};
use crate::user::User;

/// Something for the loader to do.
#[derive(Debug)]
pub enum Job {
    /// Say how things stand.
    Status(Vec<String>),
    /// Judge a file, with the signature of the KSK operator over it.
    Import(Dropped, Option<Vec<u8>>, Arc<Order>),
    /// Go back.
    RollBack(Name, Option<u64>, Order),
    /// Read the configuration again.
    Reload,
}

/// What is wrong with an order, and the option of the commands that it is about.
fn with_option(error: &OrderError) -> String {
    match error {
        OrderError::NoReason | OrderError::BadReason => format!("{error} (--reason TEXT)"),
        OrderError::NoSuchCheck(_) | OrderError::NotForceable { .. } => format!("--force {error}"),
    }
}

impl Job {
    /// Checks a request of `who`; an error says why it is refused.
    pub fn new(request: Request, who: User) -> Result<Self, String> {
        let name = |zone: &str| Name::parse(zone).map_err(|error| format!("{}: {error}", one_line(zone)));
        let order = |force: &[String], reason: Option<&str>, dry_run, rule| {
            let execution = if dry_run { Execution::DryRun } else { Execution::Real };
            Order::new(who, force, reason, execution, rule).map_err(|error| with_option(&error))
        };
        match request {
            Request::Status { zones } => {
                let label = |zone: &String| Ok(name(zone)?.to_lowercase().to_string());
                Ok(Self::Status(zones.iter().map(label).collect::<Result<_, String>>()?))
            }
            Request::Reload {} => Ok(Self::Reload),
            Request::Import { name, content, signature, force, reason, dry_run } => {
                let order = Arc::new(order(&force, reason.as_deref(), dry_run, ReasonRule::WhenForced)?);
                let decode = |text: &str| {
                    data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| "the content is no base64")
                };
                let signature = signature.as_deref().map(decode).transpose()?;
                let file = Dropped::by_hand(name.into(), decode(&content)?, Arc::clone(&order));
                Ok(Self::Import(file, signature, order))
            }
            Request::Rollback { zone, to, force, reason, dry_run } => Ok(Self::RollBack(
                name(&zone)?,
                to,
                order(&force, reason.as_deref(), dry_run, ReasonRule::Always)?,
            )),
        }
    }

    /// Does it; gives the answer, and the imports that others are to be told of.
    pub fn run(self, loader: &mut Loader, now: Timestamp) -> (Answer, Vec<Import>) {
        match self {
            Self::Import(mut file, signature, order) => {
                let pinned = &loader.config().loader.operator_certificates;
                if !pinned.is_empty() {
                    let judge = |s: Vec<u8>| Operator::judge(Ok(&s), &file.octets, pinned, now);
                    file.operator = Some(signature.map_or(Operator::Absent, judge));
                }
                let imports = loader.import_by_hand(&file, now);
                let reports = imports.iter().map(|import| ImportReport::new(import, &order)).collect();
                (Answer::Imported { imports: reports }, if order.dry_run { Vec::new() } else { imports })
            }
            Self::RollBack(zone, to, order) => {
                let result = loader.roll_back(&zone, to, &order, now);
                let answer = Answer::of_rollback(&result, &order, now);
                let done = result.ok().filter(|_| !order.dry_run).map(|rollback| rollback.as_import());
                (answer, done.into_iter().collect())
            }
            Self::Status(_) | Self::Reload => {
                (Answer::refused("that is none of the loader's own"), Vec::new())
            }
        }
    }
}
