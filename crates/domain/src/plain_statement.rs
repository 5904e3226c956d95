//! Statements of which everything is known, as a parser reads them, and what they do to rows.

use crate::TableName;

/// Why a statement cannot be run again by a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    /// It may hold a password.
    #[error("its text is not told, since it may hold a password")]
    NotTold,
    /// Some of it is not known.
    #[error("its text is too long or has a backslash, or it touches too many objects")]
    NotWhole,
    /// Others are touched with it.
    #[error("the table has parents or children")]
    Inherits,
    /// Somebody has rights on what it made.
    #[error("default privileges grant somebody what it makes")]
    Granted,
    /// Names may mean others than elsewhere.
    #[error("search_path names a schema of the server's own")]
    SearchPath,
    /// It is another one, or did something else than it says.
    #[error("it is none of the statements that a restore runs again")]
    Other,
    /// Rows are not captured.
    #[error("it needs rows of a table whose changes are not captured")]
    RowsUnknown,
    /// Rows may lie before the message that were written behind the statement.
    #[error("an older program watches the schema: keepsake protect brings it up to date")]
    Older,
    /// There is no fingerprint.
    #[error("the schema was not looked at around it")]
    NotLookedAt,
}

/// A name as a statement writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenName {
    /// `None` where the `search_path` decides.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

impl WrittenName {
    pub(crate) fn may_be(&self, table: &TableName) -> bool {
        table.name == self.name && self.schema.as_ref().is_none_or(|schema| *schema == table.schema)
    }
}

/// A single statement of which everything is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainStatement {
    /// `CREATE TABLE`, with a primary key.
    NewTable {
        /// The table.
        name: WrittenName,
        /// Its columns, in their order.
        columns: Vec<String>,
        /// Names of its indexes and sequences, as the server chooses them where nobody has them already.
        relations: Vec<String>,
    },
    /// `ALTER TABLE … ADD COLUMN`: the same value in every row that is there.
    NewColumns {
        /// The table.
        name: WrittenName,
        /// The columns, in their order.
        columns: Vec<WrittenColumn>,
    },
    /// `ALTER TABLE … ALTER COLUMN … DROP NOT NULL`.
    Nullable {
        /// The table.
        name: WrittenName,
        /// The column.
        column: String,
    },
    /// `ALTER TABLE … ALTER COLUMN … SET NOT NULL`.
    Required {
        /// The table.
        name: WrittenName,
        /// The column.
        column: String,
    },
    /// `ALTER TABLE` by constraints, defaults and row security, which change no row.
    Altered {
        /// The table.
        name: WrittenName,
        /// Others that rows have to fit.
        refers_to: Vec<WrittenName>,
        /// Names of indexes that it makes.
        relations: Vec<String>,
    },
    /// `CREATE INDEX`.
    NewIndex {
        /// The table, if its rows have to differ.
        unique_in: Option<WrittenName>,
    },
    /// `COMMENT ON` a table or a column.
    Comment,
}

/// A column that a statement adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenColumn {
    /// Its name.
    pub name: String,
    /// Whether rows that are there get a constant instead of NULL; how it reads, only the server knows.
    pub is_filled: bool,
}

/// Reads a statement; `None` for one that is not plain. The parser is not everybody's dependency.
pub type ParseStatement = fn(&str) -> Option<PlainStatement>;

/// For whom no statement is plain: every change of the schema ends what can be restored to.
#[must_use]
pub fn no_plain_statement(_statement: &str) -> Option<PlainStatement> {
    None
}

/// What a statement does to rows, or asks of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaEffect {
    /// A table without rows.
    NewTable {
        /// The table.
        table: TableName,
        /// Its columns, in their order.
        columns: Vec<String>,
    },
    /// Columns behind the others, with the same in every row.
    NewColumns {
        /// The table.
        table: TableName,
        /// The columns, in their order.
        columns: Vec<NewColumn>,
    },
    /// A column may hold NULL from now on.
    Nullable {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A column holds NULL in no row, until it may again.
    Required {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Rows fit it from now on.
    Constrained {
        /// The tables, as the statement writes them.
        tables: Vec<WrittenName>,
    },
    /// Nothing.
    Nothing,
}

impl SchemaEffect {
    /// Whether it has to stand before any row is loaded; all others stand behind everything.
    #[must_use]
    pub fn is_before_rows(&self) -> bool {
        matches!(self, Self::NewTable { .. } | Self::NewColumns { .. } | Self::Nullable { .. })
    }

    /// Whether it needs to know all rows of this table.
    #[must_use]
    pub fn needs_rows_of(&self, other: &TableName) -> bool {
        match self {
            Self::NewTable { table, .. }
            | Self::NewColumns { table, .. }
            | Self::Nullable { table, .. }
            | Self::Required { table, .. } => table == other,
            // Without a schema it may be this one.
            Self::Constrained { tables } => tables.iter().any(|table| table.may_be(other)),
            Self::Nothing => false,
        }
    }
}

/// A column that a statement added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// What it holds in rows that are older, as the server prints it; `None` is NULL.
    pub value: Option<String>,
}
