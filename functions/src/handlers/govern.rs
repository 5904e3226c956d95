//! The governor: one look at a source's replication slot, on a schedule of its own.

use super::alert::publish;
use crate::telemetry::{Metric, emit};
use crate::{App, FunctionError};
use keepsake_domain::{CaptureMode, FailureClass, GovernorLimits, Timestamp};
use keepsake_steps::ports::{CaptureLog, Policies, Policy, SlotRecord};
use keepsake_steps::{Governed, govern_slot, slot_dropped_notice};
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

/// `{"policy": "wedsync-nightly"}`.
#[derive(Debug, Deserialize)]
pub struct GovernInput {
    /// The policy's name.
    pub policy: String,
}

/// Looks at the slot of the policy's source twice, five seconds apart, and drops it before it harms the source. Needs
/// neither lease nor repository, and of the catalog only what a warm function has kept: the source comes first. People
/// are told of a slot that went.
///
/// # Errors
/// [`FunctionError`]; after a drop, when people could not be told. The next capture tells them of the gap too.
pub async fn govern(app: Arc<App>, input: GovernInput) -> Result<Governed, FunctionError> {
    let policy = app.policy_or_kept(&input.policy).await?;
    let slot = app.changes(&policy.source.connection_secret, &policy.source.name).await?;
    let limits =
        GovernorLimits { wal_budget_bytes: policy.capture.wal_budget_bytes, ..GovernorLimits::default() };
    let governed = govern_slot(&slot, app.clock.as_ref(), &limits, None).await?;
    let known = note(&app, &policy, &governed).await.unwrap_or_default();
    let now = app.clock.now();
    emit(&policy.name, &policy.source.name, now.as_millisecond(), &metrics(&policy, &governed, &known, now));
    let told_as = format!("cli:govern-{}", Uuid::now_v7());
    if let Some(notice) = slot_dropped_notice(&policy.source.name, &told_as, &governed) {
        publish(&app, &notice).await?;
    }
    Ok(governed)
}

/// How far changes are safe, by the source's clock.
#[derive(Debug, Default)]
struct Known {
    /// The newest change that stands.
    newest: Option<Timestamp>,
    /// The newest that was read back from the copy that lags most; `None` while there is one that was never read.
    read_back: Option<Timestamp>,
}

/// Notes the look in the catalog and answers how far changes are safe. A catalog that does not answer is logged and is no
/// reason to fail: the slot was looked after.
async fn note(app: &App, policy: &Policy, governed: &Governed) -> Option<Known> {
    let noted = async {
        let catalog = app.catalog().await?;
        let record = SlotRecord {
            slot: governed.slot.clone(),
            look: governed.look.clone(),
            wal_budget_bytes: policy.capture.wal_budget_bytes,
            decision: governed.decision.clone(),
            dropped: governed.dropped,
            looked_at: app.clock.now(),
        };
        catalog.note_slot(policy.source.id, &record).await?;
        let position = catalog.position(policy.source.id, policy.primary.location_id).await?;
        let mut heartbeats = Vec::new();
        for copy in &policy.copies {
            let probed = catalog.probed(policy.source.id, copy.location_id).await?;
            heartbeats.push(probed.map(|probed| probed.newest_at));
        }
        let newest = position.map(|(_, newest)| newest.at);
        // `None` is less than any time.
        Ok::<_, FunctionError>(Known { newest, read_back: heartbeats.into_iter().min().flatten() })
    };
    match noted.await {
        Ok(known) => Some(known),
        Err(error) => {
            tracing::error!(error = error.text(), "the catalog does not answer; the look is not noted");
            None
        }
    }
}

fn metrics(policy: &Policy, governed: &Governed, known: &Known, now: Timestamp) -> Vec<Metric> {
    let retained = governed.look.as_ref().map_or(0, |look| look.retained_bytes);
    let budget = policy.capture.wal_budget_bytes.max(1);
    let mut metrics = vec![
        Metric::count("GovernorLooked", 1),
        Metric::bytes("SlotRetainedBytes", retained),
        Metric::percent("SlotBudgetUsed", retained.saturating_mul(100) / budget),
        Metric::count("SlotDropped", u64::from(governed.dropped)),
        Metric::count("SlotLost", u64::from(governed.look.as_ref().is_some_and(|look| look.lost.is_some()))),
    ];
    if policy.capture.mode != CaptureMode::Off {
        let age = |since: Timestamp| u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default();
        metrics.extend(known.newest.map(|at| Metric::seconds("CaptureAge", age(at))));
        metrics.extend(known.read_back.map(|at| Metric::seconds("CopyRpo", age(at))));
    }
    metrics
}

impl App {
    /// The policy as the catalog has it, or as this process read it last: a source is looked after also while the catalog
    /// does not answer.
    async fn policy_or_kept(&self, name: &str) -> Result<Policy, FunctionError> {
        let read = async {
            let catalog = self.catalog().await?;
            Ok::<_, FunctionError>(catalog.policy(name).await?)
        };
        match read.await {
            Ok(policy) => {
                self.keep_policy(&policy);
                Ok(policy)
            }
            Err(error) => match self.kept_policy(name) {
                Some(policy) if error.class() == FailureClass::Transient => {
                    tracing::error!(
                        error = error.text(),
                        "the catalog does not answer; the policy is as it was"
                    );
                    Ok(policy)
                }
                _ => Err(error),
            },
        }
    }
}
