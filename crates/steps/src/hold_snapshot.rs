//! Hold the snapshot, in a relay: each holder imports it from the one before and exports it again, so that it
//! outlives any single function.

use crate::ports::{Clock, GiveWay, HeldSnapshot, Holds, Lease, Leases, Source, SourceError, Waiting};
use crate::{Run, StepError, TakenSnapshot, Work};
use keepsake_domain::{ExecutionRowId, FailureClass, Timestamp};
use std::time::Duration;

/// How often a holder shows life and asks whether it is still needed. Readers take a holder for dead after 30 s.
const BEAT: Duration = Duration::from_secs(1);

/// A holder whose time is over waits this long for its successor before it gives up: a function's cold start, the
/// import, and one retry fit in. It is also the margin that a function's timeout needs above `relay_seconds`.
pub const GRACE: Duration = Duration::from_secs(60);

/// How long the second lane waits for the first holder to announce itself. With the longest relay (780 s) and its
/// grace (60 s) a second holder still ends within a function's 900 s.
const FIRST_HOLDER_WAIT: Duration = Duration::from_secs(55);

/// Between two looks for the holder; doubled up to the longest. A holder in the same process is there within
/// milliseconds, one in a function after a cold start, and the catalog is not to be asked a hundred times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a cancelled reader has to notice, before its session is ended: a server that is just sending to a slow
/// reader takes note of a cancel only with its next row.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Which of the two lanes of the relay a holder runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Takes the snapshot, and relays from then on.
    First,
    /// Only relays, half a period later.
    Second,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// What a holder needs.
pub struct Holder<'a> {
    /// The source.
    pub source: &'a dyn Source,
    /// Who holds.
    pub holds: &'a dyn Holds,
    /// The policy's lease, which lasts as long as its run does.
    pub leases: &'a dyn Leases,
    /// Work objects of the run.
    pub work: &'a Work,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Holds the run's snapshot for one relay period, or until it is released. Answers whether it was released.
///
/// A second call takes the snapshot over from the other lane's holder. Only the very first holder takes a new one.
/// Each holder also prolongs the run's lease, so that a dump of many hours neither loses it nor overlaps with the next.
///
/// # Errors
/// [`SourceError::SnapshotLost`] when nobody holds it any more: parts read later would be of another state, so the
/// run must begin again. [`FailureClass::Conflict`] when another run took the policy over.
pub async fn hold_snapshot(holder: &Holder<'_>, run: &Run, lane: Lane) -> Result<bool, StepError> {
    if holder.holds.is_released(run.execution_row).await? {
        return Ok(true);
    }
    renew_lease(holder.leases, holder.clock, run).await?;
    let held = match take_over(holder, run.execution_row, lane).await? {
        Some(held) => held,
        None => take_first(holder, lane).await?,
    };
    let relay = Duration::from_secs(u64::from(run.relay_seconds));
    let ends_at = holder.clock.now() + relay + GRACE;
    let number = holder
        .holds
        .publish(run.execution_row, lane.name(), held.name(), held.backend_pid(), ends_at)
        .await?;
    tracing::info!(relay_number = number, lane = lane.name(), snapshot = held.name(), "holding the snapshot");
    let began = holder.clock.now();
    let taken_at = holder.work.snapshot().await?.map_or(held.taken_at(), |taken| taken.taken_at);
    let keeping = Keeping {
        number,
        relay,
        began,
        // By the source's clock on both ends, so that ours may be wrong.
        age_at_start: span(taken_at, held.taken_at()),
    };
    let outcome = keep(holder, run, &keeping, held.as_ref()).await;
    // The row is told first: a reader must not find a holder that is about to end.
    holder.holds.ended(run.execution_row, number).await?;
    held.end().await?;
    outcome
}

/// Prolongs a run's lease, and never takes a new one: a run that wakes up after it was replaced must not block the next.
pub async fn renew_lease(leases: &dyn Leases, clock: &dyn Clock, run: &Run) -> Result<(), StepError> {
    let lease = Lease {
        name: Run::lease_name(&run.policy),
        holder: run.execution_id.clone(),
        token: run.fencing_token,
        expires_at: clock.now(),
    };
    Ok(leases.renew(&lease, crate::LEASE_TTL).await?)
}

async fn take_over(
    holder: &Holder<'_>,
    execution: ExecutionRowId,
    lane: Lane,
) -> Result<Option<Box<dyn HeldSnapshot>>, StepError> {
    if let Some(hold) = holder.holds.current(execution).await? {
        return Ok(Some(holder.source.take_over_snapshot(&hold.snapshot_name).await?));
    }
    let announced = holder.holds.announced(execution).await?;
    match (lane, announced) {
        (Lane::First, 0) => Ok(None),
        (Lane::Second, 0) => {
            let hold = wait_for_holder(holder.holds, holder.clock, execution).await?;
            Ok(Some(holder.source.take_over_snapshot(&hold).await?))
        }
        (_, holders) => Err(SourceError::SnapshotLost { name: format!("of {holders} holders") }.into()),
    }
}

async fn take_first(holder: &Holder<'_>, lane: Lane) -> Result<Box<dyn HeldSnapshot>, StepError> {
    debug_assert_eq!(lane, Lane::First, "the second lane only relays");
    let held = holder.source.take_snapshot().await?;
    let taken =
        TakenSnapshot { snapshot: held.snapshot().clone(), lsn: held.lsn(), taken_at: held.taken_at() };
    holder.work.put_snapshot(&taken).await?;
    let stands = holder.work.snapshot().await?;
    if stands.as_ref() == Some(&taken) {
        return Ok(held);
    }
    // An earlier holder took a snapshot and died before it was announced; nothing was read in it yet, but its
    // record cannot be replaced.
    Err(SourceError::SnapshotLost { name: held.name().to_owned() }.into())
}

/// Waits for the first holder, for at most 55 s: a cold start and a slow connection fit in.
pub(crate) async fn wait_for_holder(
    holds: &dyn Holds,
    clock: &dyn Clock,
    execution: ExecutionRowId,
) -> Result<String, StepError> {
    let (mut waited, mut pause) = (Duration::ZERO, SHORTEST_PAUSE);
    while waited < FIRST_HOLDER_WAIT {
        if let Some(hold) = holds.current(execution).await? {
            return Ok(hold.snapshot_name);
        }
        if holds.is_released(execution).await? {
            break;
        }
        clock.sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Err(StepError::found(
        FailureClass::Transient,
        "nobody holds the run's snapshot",
        "no new recovery point was made; the source is untouched",
        "read the log of HoldSnapshot, then run again",
    ))
}

/// One holder's turn.
struct Keeping {
    number: u32,
    relay: Duration,
    began: Timestamp,
    age_at_start: Duration,
}

async fn keep(
    holder: &Holder<'_>,
    run: &Run,
    keeping: &Keeping,
    held: &dyn HeldSnapshot,
) -> Result<bool, StepError> {
    let (execution, number) = (run.execution_row, keeping.number);
    loop {
        let strain = held.check(run.limits.lock_patience()).await?;
        if holder.holds.heartbeat(execution, number).await? {
            // None is left after a dump that ended well; after one that failed, workers may still be reading.
            held.end_readers().await?;
            return Ok(true);
        }
        give_way(run, held, &strain.waiting).await?;
        let turn = span(keeping.began, holder.clock.now());
        if let Some(reached) = too_old(run, keeping.age_at_start + turn, strain.transactions) {
            if let Err(error) = held.end_readers().await {
                tracing::warn!(%error, "readers may go on until the end of their batch");
            }
            return Err(reached);
        }
        if turn >= keeping.relay && has_successor(holder, execution, number).await? {
            return Ok(false);
        }
        if turn >= keeping.relay + GRACE {
            return Err(StepError::found(
                FailureClass::Permanent,
                format!("holder {number} found no successor within {} s", GRACE.as_secs()),
                "no new recovery point was made; the source is untouched",
                "run the backup again; if it happens twice, look at the log of HoldSnapshot",
            ));
        }
        holder.clock.sleep(BEAT).await;
    }
}

/// Whoever waits behind a reader of ours for longer than the policy's patience comes first: the reader's part is read
/// again later.
async fn give_way(run: &Run, held: &dyn HeldSnapshot, waiting: &[Waiting]) -> Result<(), StepError> {
    let patience = run.limits.lock_patience();
    for behind in waiting {
        let how = if behind.waited < patience + CANCEL_GRACE { GiveWay::Cancel } else { GiveWay::Terminate };
        tracing::warn!(
            wants = behind.wants,
            waited_seconds = behind.waited.as_secs(),
            ?how,
            "giving way to a statement that waits behind our lock"
        );
        held.give_way(behind, how).await?;
    }
    Ok(())
}

fn too_old(run: &Run, age: Duration, transactions: u64) -> Option<StepError> {
    let limits = &run.limits;
    let what = if age >= limits.max_snapshot_age() {
        format!(
            "the snapshot is {} s old and this policy allows {} s",
            age.as_secs(),
            limits.max_snapshot_age_seconds
        )
    } else if transactions > limits.max_snapshot_age_transactions {
        format!(
            "{transactions} transactions began since the snapshot and this policy allows {}",
            limits.max_snapshot_age_transactions
        )
    } else {
        return None;
    };
    Some(StepError::found(
        FailureClass::Permanent,
        what,
        "no new recovery point was made; the snapshot was let go so that the source's vacuum can work again",
        "read faster (max_parallel_jobs, bandwidth_limit_mbps), at a quieter time, or allow more \
         (max_snapshot_age_seconds, max_snapshot_age_transactions)",
    ))
}

fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

async fn has_successor(
    holder: &Holder<'_>,
    execution: ExecutionRowId,
    number: u32,
) -> Result<bool, StepError> {
    let newest = holder.holds.current(execution).await?;
    Ok(newest.is_some_and(|hold| hold.relay_number > number))
}

/// Ends all holders of a run. A second call is success.
///
/// # Errors
/// When the catalog does not answer; the holders then end by themselves after their time.
pub async fn release_snapshot(holds: &dyn Holds, execution: ExecutionRowId) -> Result<(), StepError> {
    Ok(holds.release_all(execution).await?)
}
