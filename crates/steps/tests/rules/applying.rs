//! Rules 2 and 7 for changes that are applied: whatever call of the target fails, and wherever a restore dies, it does not end
//! well, and the same restore begun again comes to the rows of the source.

use crate::differential::{Bench, ROWS};
use crate::one_fault::Kind;
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_archive::RowsHasher;
use keepsake_domain::{Classified, FailureClass, PartPlan, RecoveryTarget, TableName};
use keepsake_steps::ports::{
    ChangeApplier, ChangeBatch, ChangePosition, ChangeTarget, Chunk, NumberInUse, Target, TargetError, chunks,
};
use keepsake_steps::{
    OpenedDifferential, Replay, Replayed, Restore, StepError, open_backup, raise_sequences, replay_changes,
};
use keepsake_testkit::{Faults, Faulty, MemoryKeyHolder, MemoryTable, MemoryTarget};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of the transaction behind the differential.
const ROWS_BEHIND: u32 = 3;

/// A full backup that was restored, and what is to be applied to it: a differential of several batches, and a segment behind it.
struct Trial {
    target: MemoryTarget,
    restore: Restore,
    replay: Replay,
}

impl Trial {
    async fn ready() -> Self {
        let mut bench = Bench::new().await;
        let standing = bench.make(&Arc::default()).await.unwrap().standing;
        let holder = MemoryKeyHolder::new("k");
        let identity = open_backup(bench.repository.as_ref(), &standing, &[&holder]).await.unwrap();
        bench.commit(ROWS_BEHIND, 50).await;
        let target = MemoryTarget::new();
        let restore = Restore {
            repository: bench.repository.clone(),
            backup: Arc::new(bench.backup.clone()),
            identity: identity.clone(),
            target: Arc::new(target.clone()),
            jobs: 1,
        };
        restored(&target, &restore).await;
        let replay = Replay {
            differential: Some(OpenedDifferential { standing, identity }),
            segments: bench.segments.split_off(1),
            target: RecoveryTarget::Latest,
            not_captured: Vec::new(),
            statements: Vec::new(),
        };
        Self { target, restore, replay }
    }

    /// What a restore does between rows and proof.
    async fn run(&self, faults: &Arc<Faults>) -> Result<Replayed, StepError> {
        let target: Arc<dyn ChangeTarget> = Arc::new(self.target.clone());
        let target = Faulty::new(target, faults);
        let mut replayed = replay_changes(&self.restore, &target, &self.replay, &|_| {}).await?;
        raise_sequences(&self.restore, &target, &mut replayed.expected).await?;
        Ok(replayed)
    }

    /// Each row of the source once, and what the proof expects is that.
    fn check(&self, replayed: &Replayed, at: &str) {
        let (count, database) = ((ROWS + ROWS_BEHIND) as usize, self.target.database());
        let rows: BTreeSet<&String> = database.tables[0].rows.iter().collect();
        assert_eq!((rows.len(), database.tables[0].rows.len()), (count, count), "{at}");
        let mut hasher = RowsHasher::new();
        rows.iter().for_each(|row| hasher.update(format!("{row}\n").as_bytes()));
        let expected = &replayed.expected.tables[0];
        let held = hasher.finish().unwrap();
        assert_eq!((expected.rows, expected.rows_digest), (held.rows, held.rows_digest), "{at}");
        assert_eq!(replayed.segments, 1, "{at}");
        assert_eq!(replayed.expected.sequences.len(), 1, "{at}");
    }
}

/// The full backup's one part, which is empty, stands.
async fn restored(target: &MemoryTarget, restore: &Restore) {
    let part = restore.backup.manifest.parts[0].clone();
    target.begin("b").await.unwrap();
    target.tamper(|database| database.tables = vec![MemoryTable::new("guests", &["id"], [])]);
    let plan = PartPlan {
        number: part.number,
        table: part.table,
        columns: part.columns,
        range: None,
        filter: String::new(),
        root: None,
        size_bytes: 0,
    };
    let (to, from) = chunks();
    let mut writer = target.writer().await.unwrap();
    let send = async {
        to.send(Chunk::Data(Bytes::new())).await.unwrap();
        to.send(Chunk::End).await.unwrap();
    };
    let (loaded, ()) = tokio::join!(writer.copy_in(&plan, from), send);
    assert_eq!(loaded.unwrap(), 0);
}

/// What applies changes, by the operations of its port.
pub(crate) async fn operations() -> BTreeSet<String> {
    let faults = Arc::new(Faults::new());
    Trial::ready().await.run(&faults).await.unwrap();
    faults.calls().into_keys().collect()
}

#[tokio::test]
async fn a_fault_at_any_call_while_changes_are_applied_and_a_death_at_any_ends_no_restore_well_and_the_next_converges()
 {
    let faults = Arc::new(Faults::new());
    let trial = Trial::ready().await;
    let whole = trial.run(&faults).await.unwrap();
    trial.check(&whole, "without a fault");
    let calls = faults.calls();
    assert!(calls["ChangeApplier.apply"] > 4 && calls.len() == 5, "{calls:?}");
    for (kind, number) in calls.iter().flat_map(|(kind, count)| (0..*count).map(move |number| (kind, number)))
    {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let trial = Trial::ready().await;
            let faults = how.at(kind, number);
            tokio::select! {
                biased;
                outcome = trial.run(&faults) => {
                    let error = outcome.expect_err(&at);
                    assert_eq!(error.class(), FailureClass::Transient, "{at}: {error}");
                }
                () = how.dies(&faults, kind, number) => {}
            }
            let again = trial.run(&Arc::default()).await.unwrap_or_else(|error| panic!("{at}: {error}"));
            trial.check(&again, &at);
            assert_eq!((again.transactions, again.last), (whole.transactions, whole.last), "{at}");
        }
    }
}

/// Another restore, to a later point, is faster.
struct Overtaken(MemoryTarget);

#[async_trait]
impl ChangeTarget for Overtaken {
    async fn change_applier(&self) -> Result<Box<dyn ChangeApplier>, TargetError> {
        self.0.change_applier().await
    }

    async fn end_changes(&self, as_of_backup: &[TableName]) -> Result<(), TargetError> {
        let mut other = self.0.change_applier().await?;
        let from = other.applied().await?.position;
        let to = ChangePosition { messages: from.messages + 1, ..from };
        other.apply(&ChangeBatch { from, to, tables: Vec::new() }).await?;
        self.0.end_changes(as_of_backup).await
    }

    async fn numbers_in_use(&self) -> Result<Vec<NumberInUse>, TargetError> {
        self.0.numbers_in_use().await
    }
}

#[tokio::test]
async fn a_target_that_another_restore_brought_further_is_not_taken_for_this_ones_point() {
    let trial = Trial::ready().await;
    let target = Overtaken(trial.target.clone());
    let refused = replay_changes(&trial.restore, &target, &trial.replay, &|_| {}).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
    assert!(refused.to_string().contains("another restore"), "{refused}");
}
