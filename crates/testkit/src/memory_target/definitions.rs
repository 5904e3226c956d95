//! Statements that changed the source's schema, on the twin: what they do to rows, and no more.

use super::{MemoryTarget, refused};
use crate::memory_source::MemoryTable;
use async_trait::async_trait;
use keepsake_domain::{SchemaEffect, SchemaStatement};
use keepsake_steps::ports::{SchemaTarget, TargetError};

#[async_trait]
impl SchemaTarget for MemoryTarget {
    async fn out_of_reach(&self, _roles: &[String]) -> Result<Vec<String>, TargetError> {
        // It has no roles.
        Ok(Vec::new())
    }

    async fn defined(&self) -> Result<u64, TargetError> {
        Ok(self.lock().statements.last().copied().unwrap_or(0))
    }

    async fn define(&self, number: u64, statement: &SchemaStatement) -> Result<(), TargetError> {
        let mut state = self.lock();
        if state.statements.contains(&number) {
            return Ok(());
        }
        let tables = &mut state.database.tables;
        match &statement.effect {
            SchemaEffect::NewTable { table, columns } => {
                if tables.iter().any(|one| one.table == *table) {
                    return Err(refused("make a table", false));
                }
                tables.push(MemoryTable { table: table.clone(), columns: columns.clone(), rows: Vec::new() });
            }
            SchemaEffect::NewColumns { table, columns } => {
                let found = tables.iter_mut().find(|one| one.table == *table);
                let is_new =
                    |one: &&mut MemoryTable| columns.iter().all(|column| !one.columns.contains(&column.name));
                let found = found.filter(is_new);
                let found = found.ok_or_else(|| refused("add columns", false))?;
                found.columns.extend(columns.iter().map(|column| column.name.clone()));
                for value in columns.iter().map(|column| column.value.as_deref().unwrap_or("\\N")) {
                    found.rows.iter_mut().for_each(|row| row.extend(["\t", value]));
                }
            }
            _ => {}
        }
        state.statements.insert(number);
        Ok(())
    }
}
