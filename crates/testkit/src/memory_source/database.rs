//! What a twin's database holds.

use bytes::Bytes;
use keepsake_domain::{Coverage, PartPlan, SequenceName, SequenceValue, TableName, TableShape};
use keepsake_steps::ports::DatabaseShape;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Rows in one block of a twin's table: small, so that a small table can be cut.
pub const ROWS_PER_BLOCK: usize = 4;

/// A table and its rows as `COPY` text without the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryTable {
    /// Its name.
    pub table: TableName,
    /// Columns in `COPY` order.
    pub columns: Vec<String>,
    /// Rows in the order of their blocks.
    pub rows: Vec<String>,
}

impl MemoryTable {
    /// A table in schema `public`.
    #[must_use]
    pub fn new(name: &str, columns: &[&str], rows: impl IntoIterator<Item = String>) -> Self {
        Self {
            table: TableName { schema: "public".to_owned(), name: name.to_owned() },
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows: rows.into_iter().collect(),
        }
    }

    /// The table as a plan sees it.
    #[must_use]
    pub fn shape(&self) -> TableShape {
        TableShape {
            table: self.table.clone(),
            columns: self.columns.clone(),
            blocks: u32::try_from(self.rows.len().div_ceil(ROWS_PER_BLOCK)).unwrap_or(u32::MAX),
            size_bytes: self.rows.iter().map(|row| row.len() as u64 + 1).sum(),
            filter: String::new(),
            root: None,
        }
    }

    /// `COPY` text of the rows in a part's block range.
    #[must_use]
    pub fn copy_text(&self, part: &PartPlan) -> Bytes {
        let inside = |index: usize| {
            let block = u32::try_from(index / ROWS_PER_BLOCK).unwrap_or(u32::MAX);
            part.range.is_none_or(|range| block >= range.from && range.to.is_none_or(|to| block < to))
        };
        let rows = self.rows.iter().enumerate().filter(|(index, _)| inside(*index));
        Bytes::from(rows.flat_map(|(_, row)| row.bytes().chain([b'\n'])).collect::<Vec<u8>>())
    }
}

/// A database of the twins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryDatabase {
    /// Its tables.
    pub tables: Vec<MemoryTable>,
    /// Where its sequences stand.
    pub sequences: Vec<SequenceValue>,
    /// Indexes, constraints and the like, by kind and identity; tables are added by themselves.
    pub post_objects: Vec<String>,
    /// Large objects, opaque.
    pub large_objects: Vec<Vec<u8>>,
    /// Roles that own something.
    pub roles: Vec<String>,
}

/// What a twin's schema archive carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDump {
    /// Tables and their columns.
    pub tables: Vec<(TableName, Vec<String>)>,
    /// Sequences, by name; they begin at 1.
    pub sequences: Vec<SequenceName>,
    /// Objects of the post-data section.
    pub post_objects: Vec<String>,
}

impl SchemaDump {
    /// As the stream of an archive.
    #[must_use]
    pub fn to_archive(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("names are plain data"))
    }
}

impl MemoryDatabase {
    /// The table of that name in schema `public`.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    pub fn table(&mut self, name: &str) -> &mut MemoryTable {
        self.tables.iter_mut().find(|table| table.table.name == name).expect("the test names a table")
    }

    /// Kind and identity of every schema object, sorted.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|table| format!("table {}", table.table));
        let mut objects: Vec<String> = tables.chain(self.post_objects.iter().cloned()).collect();
        objects.sort();
        objects
    }

    /// Rows of all tables, sorted: two databases with equal rows are equal here, whatever their order.
    #[must_use]
    pub fn sorted_rows(&self) -> Vec<(String, Vec<String>)> {
        let sorted = |table: &MemoryTable| {
            let mut rows = table.rows.clone();
            rows.sort();
            (table.table.to_string(), rows)
        };
        let mut tables: Vec<_> = self.tables.iter().map(sorted).collect();
        tables.sort();
        tables
    }

    pub(super) fn schema(&self) -> SchemaDump {
        SchemaDump {
            tables: self.tables.iter().map(|table| (table.table.clone(), table.columns.clone())).collect(),
            sequences: self.sequences.iter().map(|value| value.sequence.clone()).collect(),
            post_objects: self.post_objects.clone(),
        }
    }

    /// As long as a real one.
    fn schema_fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.objects(), format!("{:?}", self.schema().tables)).hash(&mut hasher);
        format!("{:064x}", hasher.finish())
    }

    pub(super) fn shape(&self) -> DatabaseShape {
        DatabaseShape {
            tables: self.tables.iter().map(MemoryTable::shape).collect(),
            large_objects: self.large_objects.len() as u64,
            objects: self.objects(),
            schema_fingerprint: self.schema_fingerprint(),
            globals: serde_json::json!({ "roles": self.roles }),
            coverage: Coverage::default(),
        }
    }

    pub(super) fn large_objects_archive(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(&self.large_objects).expect("bytes are plain data"))
    }

    pub(super) fn large_objects_text(&self) -> Bytes {
        let row = |(index, object): (usize, &Vec<u8>)| format!("{}\t0\t{object:02x?}\n", index + 16_400);
        Bytes::from(self.large_objects.iter().enumerate().map(row).collect::<String>())
    }
}
