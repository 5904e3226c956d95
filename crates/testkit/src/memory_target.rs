//! The twin of a target.

mod changes;
mod definitions;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::memory_source::{DatabaseReader, MemoryDatabase, MemoryTable, SchemaDump, server_facts};
use async_trait::async_trait;
use keepsake_domain::{
    GlobalsOutcome, LeftOut, PartPlan, ProvidedFacts, ProvidedPlan, Provider, SequenceValue, TableShape,
};
use keepsake_steps::ports::{
    AppliedChanges, Chunk, ChunkReceiver, LoadedPart, RowReader, RowWriter, SchemaSection, Target,
    TargetError, TargetFacts,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const PLACE: &str = "memory:5432/keepsake_restore";

#[derive(Debug, Default)]
struct State {
    foreign: Vec<String>,
    begun: Option<String>,
    database: MemoryDatabase,
    sections: Vec<SchemaSection>,
    has_large_objects: bool,
    parts: BTreeMap<u32, u64>,
    loads: u32,
    tried: u32,
    breaks_next_load: bool,
    references: BTreeMap<u32, u32>,
    changes: AppliedChanges,
    /// Numbers of statements that were run again.
    statements: BTreeSet<u64>,
}

/// The twin of a target: it keeps marks as the real one does. For unit tests only.
#[derive(Debug, Default, Clone)]
pub struct MemoryTarget {
    state: Arc<Mutex<State>>,
}

impl MemoryTarget {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A database that holds something of someone else.
    #[must_use]
    pub fn with_foreign(object: &str) -> Self {
        let target = Self::new();
        target.lock().foreign.push(object.to_owned());
        target
    }

    /// What it holds now.
    #[must_use]
    pub fn database(&self) -> MemoryDatabase {
        self.lock().database.clone()
    }

    /// Changes what it holds behind everyone's back: to see that a comparison finds it.
    pub fn tamper(&self, change: impl FnOnce(&mut MemoryDatabase)) {
        change(&mut self.lock().database);
    }

    /// Parts that were really loaded, so that a repeat can be told from a second load.
    #[must_use]
    pub fn loads(&self) -> u32 {
        self.lock().loads
    }

    /// Loads that were begun, refused ones too.
    #[must_use]
    pub fn tried(&self) -> u32 {
        self.lock().tried
    }

    /// Rows of part `from` refer to rows of part `to`, as a foreign key of an extension's table does.
    pub fn refer(&self, from: u32, to: u32) {
        self.lock().references.insert(from, to);
    }

    /// The next load breaks, as a lost connection does.
    pub fn break_next_load(&self) {
        self.lock().breaks_next_load = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(act: &str, transient: bool) -> TargetError {
    let (act, place) = (act.to_owned(), PLACE.to_owned());
    TargetError::Statement { act, place, transient, cause: "the server said no".into() }
}

fn missing_reference() -> TargetError {
    let (act, place) = ("copy rows".to_owned(), PLACE.to_owned());
    TargetError::MissingReference { act, place, cause: "violates foreign key constraint".into() }
}

/// All bytes of a stream, if it came to its end.
async fn whole(mut from: ChunkReceiver, what: &str) -> Result<Vec<u8>, TargetError> {
    let mut bytes = Vec::new();
    loop {
        match from.recv().await {
            Some(Chunk::Data(more)) => bytes.extend_from_slice(&more),
            Some(Chunk::End) => return Ok(bytes),
            None => return Err(TargetError::CutOff { what: what.to_owned() }),
        }
    }
}

fn restore_failed(cause: &serde_json::Error) -> TargetError {
    TargetError::RestoreFailed { program: "pg_restore".to_owned(), said: cause.to_string() }
}

#[async_trait]
impl Target for MemoryTarget {
    async fn facts(&self, _backup_id: &str) -> Result<TargetFacts, TargetError> {
        Ok(TargetFacts {
            server: server_facts(),
            provider: Provider::Plain,
            user_objects: self.lock().foreign.clone(),
        })
    }

    async fn check(&self, _globals: &serde_json::Value, schema: ChunkReceiver) -> Result<(), TargetError> {
        whole(schema, "the schema").await?;
        Ok(())
    }

    async fn provided(&self, asked: ProvidedFacts) -> Result<ProvidedFacts, TargetError> {
        // A plain server's provider keeps nothing.
        Ok(asked)
    }

    async fn take_provided(&self, _plan: &ProvidedPlan) -> Result<(), TargetError> {
        Ok(())
    }

    async fn begin(&self, backup_id: &str) -> Result<(), TargetError> {
        let mut state = self.lock();
        let other = state.begun.as_ref().filter(|begun| *begun != backup_id);
        let mut objects = state.foreign.clone();
        objects.extend(other.map(|other| format!("an unfinished restore of {other}")));
        if !objects.is_empty() {
            return Err(TargetError::NotEmpty { place: PLACE.to_owned(), objects });
        }
        state.begun = Some(backup_id.to_owned());
        Ok(())
    }

    async fn create_missing_roles(&self, globals: &serde_json::Value) -> Result<Vec<String>, TargetError> {
        let named = globals["roles"].as_array().into_iter().flatten();
        let named: Vec<String> = named.filter_map(|role| role.as_str().map(str::to_owned)).collect();
        let mut state = self.lock();
        let missing: Vec<String> =
            named.into_iter().filter(|role| !state.database.roles.contains(role)).collect();
        state.database.roles.extend(missing.iter().cloned());
        Ok(missing)
    }

    async fn restore_schema(
        &self,
        section: SchemaSection,
        from: ChunkReceiver,
        _jobs: u32,
    ) -> Result<(), TargetError> {
        let archive = whole(from, "the schema").await?;
        let schema: SchemaDump = serde_json::from_slice(&archive).map_err(|cause| restore_failed(&cause))?;
        let mut state = self.lock();
        if state.sections.contains(&section) {
            return Ok(());
        }
        state.sections.push(section);
        match section {
            SchemaSection::PreData => create(&mut state.database, schema),
            SchemaSection::PostData => state.database.post_objects = schema.post_objects,
        }
        Ok(())
    }

    async fn restore_large_objects(&self, from: ChunkReceiver) -> Result<(), TargetError> {
        let archive = whole(from, "large objects").await?;
        let mut state = self.lock();
        if !state.has_large_objects {
            state.database.large_objects =
                serde_json::from_slice(&archive).map_err(|cause| restore_failed(&cause))?;
            state.has_large_objects = true;
        }
        Ok(())
    }

    async fn loaded_parts(&self) -> Result<Vec<LoadedPart>, TargetError> {
        let state = self.lock();
        Ok(state.parts.iter().map(|(number, rows)| LoadedPart { number: *number, rows: *rows }).collect())
    }

    async fn writer(&self) -> Result<Box<dyn RowWriter>, TargetError> {
        Ok(Box::new(Writer { target: self.clone() }))
    }

    async fn reader(&self) -> Result<Box<dyn RowReader>, TargetError> {
        Ok(Box::new(DatabaseReader::of_target(self.database())))
    }

    async fn tables(&self) -> Result<Vec<TableShape>, TargetError> {
        Ok(self.lock().database.tables.iter().map(MemoryTable::shape).collect())
    }

    async fn objects(&self) -> Result<Vec<String>, TargetError> {
        Ok(self.lock().database.objects())
    }

    async fn large_objects(&self) -> Result<u64, TargetError> {
        Ok(self.lock().database.large_objects.len() as u64)
    }

    async fn set_sequences(&self, values: &[SequenceValue]) -> Result<(), TargetError> {
        let mut state = self.lock();
        for value in values {
            let standing = state.database.sequences.iter_mut().find(|own| own.sequence == value.sequence);
            *standing.ok_or_else(|| refused("set a sequence", false))? = value.clone();
        }
        Ok(())
    }

    async fn left_out(&self) -> Result<Vec<LeftOut>, TargetError> {
        Ok(Vec::new())
    }

    async fn restore_globals(&self, _globals: &serde_json::Value) -> Result<GlobalsOutcome, TargetError> {
        Ok(GlobalsOutcome::default())
    }

    async fn finish(&self) -> Result<(), TargetError> {
        let mut state = self.lock();
        state.begun = None;
        state.parts.clear();
        state.changes = AppliedChanges::default();
        Ok(())
    }
}

fn create(database: &mut MemoryDatabase, schema: SchemaDump) {
    let empty = |(table, columns)| MemoryTable { table, columns, rows: Vec::new() };
    database.tables = schema.tables.into_iter().map(empty).collect();
    let fresh = |sequence| SequenceValue { sequence, last_value: 1, is_called: false };
    database.sequences = schema.sequences.into_iter().map(fresh).collect();
}

struct Writer {
    target: MemoryTarget,
}

#[async_trait]
impl RowWriter for Writer {
    async fn copy_in(&mut self, part: &PartPlan, from: ChunkReceiver) -> Result<u64, TargetError> {
        self.target.lock().tried += 1;
        if std::mem::take(&mut self.target.lock().breaks_next_load) {
            return Err(refused("copy rows", true));
        }
        let text = whole(from, &format!("part {}", part.number)).await?;
        let text = String::from_utf8(text).map_err(|_| refused("copy rows", false))?;
        let rows: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
        let count = rows.len() as u64;
        let mut state = self.target.lock();
        if let Some(standing) = state.parts.get(&part.number) {
            return Ok(*standing);
        }
        if state.references.get(&part.number).is_some_and(|to| !state.parts.contains_key(to)) {
            return Err(missing_reference());
        }
        let table = state.database.tables.iter_mut().find(|table| table.table == part.table);
        table.ok_or_else(|| refused("copy rows", false))?.rows.extend(rows);
        state.parts.insert(part.number, count);
        state.loads += 1;
        Ok(count)
    }
}
