//! A request that was checked as far as it can be without the loader, and what the loader does with it.

use std::sync::Arc;

use keystore::dns::{Name, NameError};
use keystore::time::Timestamp;

use super::{ControlAnswer, ControlRequest, ImportReport};
use crate::Loader;
use crate::files::one_line;
use crate::inbox::Dropped;
use crate::loader::{Acknowledgement, FileImport};
use crate::operator::Operator;
use crate::order::{Execution, OperatorOrder, OrderError, ReasonRule};
use crate::user::User;

/// Something for the loader to do.
#[derive(Debug)]
pub enum LoaderJob {
    /// Say how things stand.
    Status(Vec<String>),
    /// Judge a file, with the signature of the KSK operator over it.
    Import(Dropped, Option<Vec<u8>>, Arc<OperatorOrder>),
    /// Note that a person has seen what is told of a zone's drops.
    Acknowledge(Name, Option<String>, OperatorOrder),
    /// Go back.
    RollBack(Name, Option<u64>, OperatorOrder),
    /// Read the configuration again.
    Reload,
}

/// Why a request is refused before the loader is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It names no zone.
    #[error("{}: {source}", one_line(zone))]
    Zone {
        /// The text that should be the name of a zone.
        zone: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The order in it is not followed.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The file, or its signature, is not in base64.
    #[error("the content is no base64")]
    Content(#[source] data_encoding::DecodeError),
}

impl LoaderJob {
    /// Checks a request of `who`.
    pub fn new(request: ControlRequest, who: User) -> Result<Self, JobError> {
        let name =
            |zone: &str| Name::parse(zone).map_err(|source| JobError::Zone { zone: zone.to_owned(), source });
        let order = |force: &[String], reason: Option<&str>, dry_run, rule| {
            let execution = if dry_run { Execution::DryRun } else { Execution::Real };
            OperatorOrder::new(who, force, reason, execution, rule)
        };
        match request {
            ControlRequest::Status { zones } => {
                let label = |zone: &String| name(zone).map(|name| name.zone_label());
                Ok(Self::Status(zones.iter().map(label).collect::<Result<_, _>>()?))
            }
            ControlRequest::Reload {} => Ok(Self::Reload),
            ControlRequest::Import { name, content, signature, force, reason, dry_run } => {
                let order = Arc::new(order(&force, reason.as_deref(), dry_run, ReasonRule::WhenForced)?);
                let decode =
                    |text: &str| data_encoding::BASE64.decode(text.as_bytes()).map_err(JobError::Content);
                let signature = signature.as_deref().map(decode).transpose()?;
                let file = Dropped::by_hand(name.into(), decode(&content)?, Arc::clone(&order));
                Ok(Self::Import(file, signature, order))
            }
            ControlRequest::Acknowledge { zone, file, reason } => Ok(Self::Acknowledge(
                name(&zone)?,
                file,
                order(&[], reason.as_deref(), false, ReasonRule::WhenForced)?,
            )),
            ControlRequest::Rollback { zone, to, force, reason, dry_run } => Ok(Self::RollBack(
                name(&zone)?,
                to,
                order(&force, reason.as_deref(), dry_run, ReasonRule::Always)?,
            )),
        }
    }

    /// Begins it, and gives the answer to `reply`: at once, or, of a file of many zones, in a later step of the loader.
    pub fn begin(
        self,
        loader: &mut Loader,
        now: Timestamp,
        reply: impl FnOnce(ControlAnswer) + Send + 'static,
    ) {
        if !loader.may_change() {
            return reply(ControlAnswer::refused(crate::loader::NO_LEASE));
        }
        match self {
            Self::Import(file, signature, order) => {
                let file = with_operator(file, signature, loader, now);
                loader.begin_import_by_hand(file, now, move |imports| reply(answer(&imports, &order)));
            }
            Self::Acknowledge(zone, file, order) => {
                reply(acknowledge(loader, &zone, file.as_deref(), &order, now))
            }
            Self::RollBack(zone, to, order) => {
                let result = loader.roll_back(&zone, to, &order, now);
                reply(ControlAnswer::of_rollback(&result, &order, now));
                if let Some(rollback) = result.ok().filter(|_| !order.dry_run) {
                    loader.tell_later(rollback.as_import());
                }
            }
            Self::Status(_) | Self::Reload => {
                reply(ControlAnswer::refused("that is none of the loader's own"))
            }
        }
    }

    /// Does it at once, with a loader that does not run.
    pub fn run(self, loader: &mut Loader, now: Timestamp) -> ControlAnswer {
        match self {
            Self::Import(file, signature, order) => {
                let file = with_operator(file, signature, loader, now);
                answer(&loader.import_by_hand(&file, now), &order)
            }
            Self::Acknowledge(zone, file, order) => acknowledge(loader, &zone, file.as_deref(), &order, now),
            Self::RollBack(zone, to, order) => {
                ControlAnswer::of_rollback(&loader.roll_back(&zone, to, &order, now), &order, now)
            }
            Self::Status(_) | Self::Reload => ControlAnswer::refused("that is none of the loader's own"),
        }
    }
}

/// The file with what the signature of the KSK operator over it says, where somebody's counts.
fn with_operator(mut file: Dropped, signature: Option<Vec<u8>>, loader: &Loader, now: Timestamp) -> Dropped {
    let pinned = &loader.config().loader.operator_certificates;
    if pinned.is_empty() {
        return file;
    }
    let judge = |s: Vec<u8>| Operator::judge(Ok(&s), &file.octets, pinned, now);
    file.operator = Some(signature.map_or(Operator::Absent, judge));
    file
}

fn answer(imports: &[FileImport], order: &OperatorOrder) -> ControlAnswer {
    ControlAnswer::Imported {
        imports: imports.iter().map(|import| ImportReport::new(import, order)).collect(),
    }
}

fn acknowledge(
    loader: &mut Loader,
    zone: &Name,
    file: Option<&str>,
    order: &OperatorOrder,
    now: Timestamp,
) -> ControlAnswer {
    match loader.acknowledge(zone, file, order, now) {
        Ok(Acknowledgement { zone, rejected, generation, checks }) => {
            ControlAnswer::Acknowledged { zone: zone.to_string(), rejected, generation, checks }
        }
        Err(error) => ControlAnswer::refused(error.to_string()),
    }
}
