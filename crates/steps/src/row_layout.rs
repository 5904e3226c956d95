//! How the rows that a stream carries lie in the table that they go into.

use crate::StepError;
use keepsake_archive::pgoutput::{Relation, ReplicaIdentity, Tuple};
use keepsake_archive::{CopyRow, Part};
use keepsake_domain::{FailureClass, TableName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables of a full backup: where the rows of each go, and in which order its columns are compared.
#[derive(Debug, Clone)]
pub struct Destinations(BTreeMap<TableName, Destination>);

#[derive(Debug, Clone)]
struct Destination {
    table: TableName,
    columns: Vec<String>,
}

impl Destinations {
    /// From the parts of its manifest.
    #[must_use]
    pub fn of(parts: &[Part]) -> Self {
        let destination = |part: &Part| Destination {
            table: part.root.clone().unwrap_or_else(|| part.table.clone()),
            columns: part.columns.clone(),
        };
        Self(parts.iter().map(|part| (part.table.clone(), destination(part))).collect())
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
        let destination = self.0.get(&table).ok_or_else(|| {
            does_not_fit(&format!("changes name table {table}, which the full backup does not hold"))
        })?;
        let place = |column: &String| relation.columns.iter().position(|own| own.name == *column);
        let places: Vec<usize> = destination.columns.iter().filter_map(place).collect();
        if places.len() != destination.columns.len() || places.len() != relation.columns.len() {
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
        })
    }
}

fn key(relation: &Relation, places: &[usize]) -> Vec<usize> {
    if relation.identity == ReplicaIdentity::Full {
        return Vec::new();
    }
    let is_key = |(_, place): &(usize, &usize)| relation.columns[**place].is_key;
    places.iter().enumerate().filter(is_key).map(|(index, _)| index).collect()
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
    /// For each of `columns` its place in the stream's rows.
    places: Vec<usize>,
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
        if cells.len() != self.places.len() {
            return Err(does_not_fit(&format!(
                "a row of table {} has {} values instead of {}",
                self.table,
                cells.len(),
                self.places.len()
            )));
        }
        Ok(CopyRow::of(self.places.iter().map(|place| &cells[*place])))
    }
}
