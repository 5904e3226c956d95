//! The part of a restore that goes to a point in time: segments are checked before anything is changed, and replayed
//! between rows and keys.

use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::terminal::Progress;
use keepsake_archive::SegmentManifest;
use keepsake_domain::{RecoveredPoint, RestoredDatabase, TableName, without_undone};
use keepsake_postgres::PostgresTarget;
use keepsake_statements::plain_statement;
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    OpenedDifferential, OpenedSegment, Opener, RecoveryRoute, Replay, Restore, SchemaPhase, StandingChanges,
    check_segments, define_schema, raise_sequences, refuse_roles, replay_changes,
};
use std::sync::Arc;

/// Changes that are to be replayed.
pub struct Changes {
    target: Arc<PostgresTarget>,
    replay: Replay,
    /// Of the tables that are not captured, those that the full backup does not hold.
    not_held: Vec<TableName>,
    is_not_captured_known: bool,
}

impl Changes {
    /// Opens the segments of a route; `None` without one.
    ///
    /// # Errors
    /// When the key does not open one of them.
    pub async fn opened(
        repository: &dyn Repository,
        key: &ReadingKey,
        route: Option<RecoveryRoute>,
        target: Arc<PostgresTarget>,
    ) -> Result<Option<Self>, Failure> {
        let Some(route) = route else { return Ok(None) };
        let is_held = |table: &TableName| !route.not_held.contains(table);
        let not_captured = route.not_captured.into_iter().map(|one| one.table).filter(is_held).collect();
        let differential = match route.differential {
            Some(standing) => {
                let identity = key.open(repository, &standing).await?;
                Some(OpenedDifferential { standing, identity })
            }
            None => None,
        };
        let segments = open_all(repository, key, route.segments).await?;
        Ok(Some(Self {
            target,
            not_held: route.not_held,
            is_not_captured_known: route.is_not_captured_known,
            replay: Replay {
                differential,
                segments,
                target: route.plan.target,
                not_captured,
                statements: Vec::new(),
            },
        }))
    }

    /// Reads every segment to its end, before anything is changed, and finds what changed the schema.
    ///
    /// # Errors
    /// Naming the first segment that is damaged or of another history, or roles as which nothing can be run on the target.
    pub async fn check(&mut self, restore: &Restore, progress: &Arc<Progress>) -> Result<(), Failure> {
        progress.step_over(&format!("checking {}", self.named()), self.raw_bytes());
        let found = check_segments(restore, &self.replay, plain_statement, &shown(progress)).await?;
        self.replay.statements = found;
        Ok(refuse_roles(self.target.as_ref(), &self.replay.statements).await?)
    }

    /// Runs the statements again that changed the schema.
    ///
    /// # Errors
    /// As the target says.
    pub async fn define(&self, phase: SchemaPhase) -> Result<(), Failure> {
        if self.replay.statements.is_empty() {
            return Ok(());
        }
        Ok(define_schema(self.target.as_ref(), &self.replay.statements, phase).await?)
    }

    /// Applies them. Answers what the database must hold then, and which point that is.
    ///
    /// # Errors
    /// When changes do not fit the rows that are there.
    pub async fn replay(
        &self,
        restore: &Restore,
        progress: &Arc<Progress>,
    ) -> Result<(RestoredDatabase, Option<RecoveredPoint>), Failure> {
        progress.step_over(&format!("applying the changes of {}", self.named()), self.raw_bytes());
        let replayed = replay_changes(restore, self.target.as_ref(), &self.replay, &shown(progress)).await?;
        let (manifest, ran) = (&restore.backup.manifest, without_undone(&self.replay.statements));
        let point = RecoveredPoint {
            target: self.replay.target.to_string(),
            lsn: replayed.last.map_or(manifest.lsn, |last| last.lsn),
            at: replayed.last.map_or(manifest.snapshot_at, |last| last.committed_at),
            differential: self.replay.differential.as_ref().map(|one| one.standing.manifest.end_lsn),
            segments: replayed.segments,
            transactions: replayed.transactions,
            not_captured: self.replay.not_captured.clone(),
            not_held: self.not_held.clone(),
            not_captured_known: self.is_not_captured_known,
            schema_statements: ran.into_iter().map(|(_, statement)| statement.into()).collect(),
        };
        Ok((replayed.expected, Some(point)))
    }

    /// After the keys stand: no sequence hands out a number again that a row uses.
    ///
    /// # Errors
    /// As the target says.
    pub async fn raise_sequences(
        &self,
        restore: &Restore,
        expected: &mut RestoredDatabase,
    ) -> Result<(), Failure> {
        Ok(raise_sequences(restore, self.target.as_ref(), expected).await?)
    }

    fn named(&self) -> String {
        let differential = if self.replay.differential.is_some() { "a differential and " } else { "" };
        format!("{differential}{} segments", self.replay.segments.len())
    }

    fn raw_bytes(&self) -> u64 {
        let manifests = self.replay.segments.iter().filter_map(|segment| segment.standing.segment());
        manifests.map(|manifest| manifest.raw_bytes).sum()
    }
}

/// The segments of one run have one key, which is opened once.
///
/// # Errors
/// When the key does not open one of them.
pub async fn open_all(
    repository: &dyn Repository,
    key: &ReadingKey,
    segments: Vec<StandingChanges>,
) -> Result<Vec<OpenedSegment>, Failure> {
    let mut opened: Vec<OpenedSegment> = Vec::new();
    for standing in segments {
        let known = opened.iter().rev().find(|known| known.standing.run_id() == standing.run_id());
        let identity = match known {
            Some(known) => known.identity.clone(),
            None => key.open(repository, &standing).await?,
        };
        opened.push(OpenedSegment { standing, identity });
    }
    Ok(opened)
}

/// Told of each segment that is read.
pub fn shown(progress: &Arc<Progress>) -> impl Fn(&SegmentManifest) + Send + Sync + use<> {
    let progress = Arc::clone(progress);
    move |segment| progress.advance(segment.raw_bytes, segment.holds.changes)
}
