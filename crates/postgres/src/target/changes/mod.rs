//! Applies changes to a database that has its rows and not yet its keys, triggers and foreign keys.

mod books;
mod numbers;
mod relation;
mod rows;
mod statements;

use super::PostgresTarget;
use crate::session::Session;
use async_trait::async_trait;
use keepsake_domain::TableName;
use keepsake_steps::ports::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangeTarget, NumberInUse, TableChange, TargetError,
};
use relation::Relation;
use rows::{copied_in, copied_out};
use std::collections::HashMap;

#[async_trait]
impl ChangeTarget for PostgresTarget {
    async fn change_applier(&self) -> Result<Box<dyn ChangeApplier>, TargetError> {
        let mut session = self.session().await?;
        // Whoever drops this in the middle of a batch wants the server to give it up too.
        session.streaming = true;
        books::make(&session).await?;
        books::has_no_keys(&session).await?;
        // A batch and its position are lost or kept together, so none has to wait for the disk; what ends the changes does.
        session.run("begin to apply changes", "SET synchronous_commit = off").await?;
        Ok(Box::new(Applier { session, relations: HashMap::new() }))
    }

    async fn end_changes(&self, as_of_backup: &[TableName]) -> Result<(), TargetError> {
        let session = self.session().await?;
        books::make(&session).await?;
        books::end(&session, as_of_backup).await
    }

    async fn numbers_in_use(&self) -> Result<Vec<NumberInUse>, TargetError> {
        numbers::in_use(&self.session().await?).await
    }
}

struct Applier {
    session: Session,
    /// What was looked up once.
    relations: HashMap<(TableName, Vec<usize>), Relation>,
}

#[async_trait]
impl ChangeApplier for Applier {
    async fn applied(&mut self) -> Result<AppliedChanges, TargetError> {
        books::applied(&self.session).await
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<(), TargetError> {
        let applied = self.transaction(batch).await;
        if applied.is_err() {
            // So that the connection can try again; if it broke, the server did it.
            let _ = self.session.client.batch_execute("ROLLBACK").await;
            // Indexes that were made in it are gone.
            self.relations.clear();
        }
        applied
    }
}

impl Applier {
    async fn transaction(&mut self, batch: &ChangeBatch) -> Result<(), TargetError> {
        let act = "apply changes";
        self.session.run(act, "BEGIN").await?;
        if !books::stands_before(&self.session, batch).await? {
            return Ok(self.session.run(act, "ROLLBACK").await?);
        }
        self.empty(&batch.tables).await?;
        for change in &batch.tables {
            let relation = self.relation(change).await?;
            books::note_emptied(&self.session, change).await?;
            if !change.deletions.is_empty() {
                self.delete(&relation, change).await?;
            }
            if !change.updates.is_empty() {
                self.update(&relation, change).await?;
            }
            if !change.insertions.is_empty() {
                self.insert(change).await?;
            }
        }
        books::move_to(&self.session, batch.to).await?;
        Ok(self.session.run(act, "COMMIT").await?)
    }

    /// All in one statement: tables of extensions may refer to each other already.
    async fn empty(&mut self, changes: &[TableChange]) -> Result<(), TargetError> {
        let mut emptied = Vec::new();
        for change in changes.iter().filter(|change| change.is_emptied) {
            emptied.push(self.relation(change).await?.alone(&change.table));
        }
        if emptied.is_empty() {
            return Ok(());
        }
        Ok(self.session.run("empty tables", &format!("TRUNCATE {}", emptied.join(", "))).await?)
    }

    async fn relation(&mut self, change: &TableChange) -> Result<Relation, TargetError> {
        let name = (change.table.clone(), change.key.clone());
        if let Some(known) = self.relations.get(&name)
            && (known.has_index() || !relation::needs_index(change))
        {
            return Ok(known.clone());
        }
        let found = Relation::of(&self.session, change).await?;
        self.relations.insert(name, found.clone());
        Ok(found)
    }

    async fn delete(&self, relation: &Relation, change: &TableChange) -> Result<(), TargetError> {
        let act = format!("delete rows of table {}", change.table);
        self.session.run(&act, &statements::stage_of_deletions(relation, change)).await?;
        let lines = change.deletions.iter().enumerate().map(|(number, deletion)| {
            let key = deletion.key.line();
            if change.key.is_empty() {
                [format!("{number}\t{}", deletion.count).as_bytes(), statements::tab(change), key].concat()
            } else {
                [format!("{number}\t").as_bytes(), key].concat()
            }
        });
        self.fill_stage(&act, lines).await?;
        let wanted: Vec<_> = change.deletions.iter().map(|one| (one.count, one.lsn)).collect();
        let sql = statements::delete(relation, change);
        let deleted = copied_out(&self.session, &act, &sql, change, &wanted).await?;
        books::add(&self.session, &change.table, books::Sum::Deleted, deleted).await?;
        self.drop_stage(&act).await
    }

    async fn update(&self, relation: &Relation, change: &TableChange) -> Result<(), TargetError> {
        let act = format!("update rows of table {}", change.table);
        let kept = statements::kept_columns(change);
        self.session.run(&act, &statements::stage_of_updates(relation, change, &kept)).await?;
        let lines = change.updates.iter().enumerate();
        let lines = lines.map(|(number, update)| statements::staged_update(number, update, &kept));
        self.fill_stage(&act, lines).await?;
        let wanted: Vec<_> = change.updates.iter().map(|one| (1, one.lsn)).collect();
        let sql = statements::rows_before_update(relation, change);
        let before = copied_out(&self.session, &act, &sql, change, &wanted).await?;
        let sql = statements::update(relation, change, &kept);
        let after = copied_out(&self.session, &act, &sql, change, &wanted).await?;
        books::add(&self.session, &change.table, books::Sum::Deleted, before).await?;
        books::add(&self.session, &change.table, books::Sum::Inserted, after).await?;
        self.drop_stage(&act).await
    }

    async fn insert(&self, change: &TableChange) -> Result<(), TargetError> {
        let act = format!("insert rows into table {}", change.table);
        let lines = change.insertions.iter().flat_map(|insertion| {
            let count = usize::try_from(insertion.count).unwrap_or(usize::MAX);
            std::iter::repeat_n(insertion.row.line(), count)
        });
        let inserted = copied_in(&self.session, &act, &statements::insert(change), lines).await?;
        books::add(&self.session, &change.table, books::Sum::Inserted, inserted).await
    }

    async fn fill_stage(
        &self,
        act: &str,
        lines: impl Iterator<Item = Vec<u8>> + Send,
    ) -> Result<(), TargetError> {
        copied_in(&self.session, act, statements::FILL_STAGE, lines).await?;
        // Else the server guesses how many there are, and reads the whole table for a handful.
        Ok(self.session.run(act, statements::ANALYZE_STAGE).await?)
    }

    async fn drop_stage(&self, act: &str) -> Result<(), TargetError> {
        Ok(self.session.run(act, statements::DROP_STAGE).await?)
    }
}
