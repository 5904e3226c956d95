//! How the rows that a stream carries lie in the table that they go into.

use crate::StepError;
use bytes::Bytes;
use keepsake_archive::pgoutput::{Cell, Relation, ReplicaIdentity, Tuple};
use keepsake_archive::{CopyRow, Part};
use keepsake_domain::{FailureClass, NewColumn, SchemaEffect, TableName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables of a full backup: where the rows of each go, and in which order its columns are compared.
#[derive(Debug, Clone)]
pub struct Destinations(BTreeMap<TableName, Destination>);

#[derive(Debug, Clone)]
struct Destination {
    table: TableName,
    columns: Vec<String>,
    /// Of the last columns, which were added since the full backup: what they hold in rows of before.
    added: Vec<Cell>,
}

/// What a column that was added later holds in rows of before.
pub(crate) fn before(added: &NewColumn) -> Cell {
    added.value.as_ref().map_or(Cell::Null, |value| Cell::Text(Bytes::copy_from_slice(value.as_bytes())))
}

impl Destinations {
    /// From the parts of its manifest.
    #[must_use]
    pub fn of(parts: &[Part]) -> Self {
        let destination = |part: &Part| Destination {
            table: part.root.clone().unwrap_or_else(|| part.table.clone()),
            columns: part.columns.clone(),
            added: Vec::new(),
        };
        Self(parts.iter().map(|part| (part.table.clone(), destination(part))).collect())
    }

    /// As they are behind a statement that changed the schema.
    ///
    /// # Errors
    /// [`FailureClass::Integrity`] when it changed a table that is not there.
    pub(crate) fn define(&mut self, effect: &SchemaEffect) -> Result<(), StepError> {
        match effect {
            SchemaEffect::NewTable { table, columns } => {
                let made = Destination { table: table.clone(), columns: columns.clone(), added: Vec::new() };
                if self.0.insert(table.clone(), made).is_some() {
                    return Err(does_not_fit(&format!("changes make table {table}, which is there")));
                }
            }
            SchemaEffect::NewColumns { table, columns } => {
                let widened = self.0.get_mut(table).ok_or_else(|| unknown(table))?;
                widened.columns.extend(columns.iter().map(|column| column.name.clone()));
                widened.added.extend(columns.iter().map(before));
            }
            _ => {}
        }
        Ok(())
    }

    /// How many tables of the source have their rows in this one.
    pub(crate) fn parts_of(&self, table: &TableName) -> usize {
        self.0.values().filter(|destination| destination.table == *table).count()
    }

    /// The columns of a table that rows go into.
    pub(crate) fn columns(&self, table: &TableName) -> Option<&[String]> {
        let found = self.0.values().find(|destination| destination.table == *table);
        found.map(|destination| destination.columns.as_slice())
    }

    /// How the rows of a table of the stream lie in the table that they go into.
    ///
    /// # Errors
    /// [`FailureClass::Integrity`] when the backup has no such table, or the table other columns.
    pub(crate) fn layout(&self, relation: &Relation) -> Result<RowLayout, StepError> {
        let table = relation.table();
        let destination = self.0.get(&table).ok_or_else(|| unknown(&table))?;
        let place = |column: &String| relation.columns.iter().position(|own| own.name == *column);
        let places: Vec<Option<usize>> = destination.columns.iter().map(place).collect();
        let held = destination.columns.len() - destination.added.len();
        if places[..held].contains(&None) || places.iter().flatten().count() != relation.columns.len() {
            let columns: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(does_not_fit(&format!(
                "changes of table {table} have the columns {}, and the full backup {}",
                columns.join(", "),
                destination.columns.join(", ")
            )));
        }
        Ok(RowLayout {
            table: Arc::new(destination.table.clone()),
            columns: destination.columns.clone(),
            key: key(relation, &places),
            places,
            added: destination.added.clone(),
        })
    }
}

fn key(relation: &Relation, places: &[Option<usize>]) -> Vec<usize> {
    if relation.identity == ReplicaIdentity::Full {
        return Vec::new();
    }
    let is_key =
        |(_, place): &(usize, &Option<usize>)| place.is_some_and(|place| relation.columns[place].is_key);
    places.iter().enumerate().filter(is_key).map(|(index, _)| index).collect()
}

fn unknown(table: &TableName) -> StepError {
    does_not_fit(&format!("changes name table {table}, which the full backup does not hold"))
}

fn does_not_fit(what: &str) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        what,
        "the backup is untouched; the target is not a complete restore",
        "restore to a point before this change of the schema, or from a full backup behind it: keepsake window --repo <URL>",
    )
}

/// Of one table of the stream.
#[derive(Debug, Clone)]
pub(crate) struct RowLayout {
    table: Arc<TableName>,
    columns: Vec<String>,
    /// Places in `columns`; empty where only all of them together name a row.
    key: Vec<usize>,
    /// For each of `columns` its place in the stream's rows; `None` for one that was added later.
    places: Vec<Option<usize>>,
    /// What the last of `columns` hold where the stream does not have them yet.
    added: Vec<Cell>,
}

impl RowLayout {
    /// The table that the rows go into.
    pub fn table(&self) -> &Arc<TableName> {
        &self.table
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    pub fn key(&self) -> &[usize] {
        &self.key
    }

    pub fn key_names(&self) -> String {
        if self.key.is_empty() {
            return "without a key".to_owned();
        }
        let names: Vec<&str> = self.key.iter().map(|place| self.columns[*place].as_str()).collect();
        format!("key {}", names.join(", "))
    }

    /// The stream's row, in the order of the table's columns.
    ///
    /// # Errors
    /// [`FailureClass::Integrity`] when it has not as many values as the stream said.
    pub fn row(&self, cells: &Tuple) -> Result<CopyRow, StepError> {
        let wanted = self.places.iter().flatten().count();
        if cells.len() != wanted {
            return Err(does_not_fit(&format!(
                "a row of table {} has {} values instead of {wanted}",
                self.table,
                cells.len(),
            )));
        }
        let held = self.places.len() - self.added.len();
        let cell = |(index, place): (usize, &Option<usize>)| match place {
            Some(place) => &cells[*place],
            // Only columns that were added have none.
            None => &self.added[index - held],
        };
        Ok(CopyRow::of(self.places.iter().enumerate().map(cell)))
    }
}
