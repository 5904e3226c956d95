//! Which changes of a schema a restore may repeat: those of which it is known that nothing else changed the schema, and what
//! each statement did.

use crate::{SequenceName, TableName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The source's message holds so many characters of a statement at most; one that is as long may have been cut.
const STATEMENT_CHARACTERS: usize = 65_536;

/// Schemas that a user's `search_path` must not name: by default the server's own come before all others.
const OWN_SCHEMAS: [&str; 2] = ["pg_catalog", "pg_temp"];

/// What a transaction of the source told that it defined. Anybody may leave messages of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct DdlMessage {
    /// What kind of statement, as Postgres calls it: `ALTER TABLE`.
    pub command: String,
    /// Kind and name of what it touched, the first of them: `table public.guests`.
    pub objects: Vec<String>,
    /// How many there were.
    #[serde(default)]
    pub objects_total: usize,
    /// The text that the client sent, which may be cut; `None` where it may hold a password.
    #[serde(default)]
    pub statement: Option<String>,
    /// As it was for the statement.
    #[serde(default)]
    pub search_path: String,
    /// Who it was.
    #[serde(default)]
    pub role: String,
    /// Whether a table that was touched has parents or children, which are touched with it.
    #[serde(default)]
    pub inherits: bool,
    /// Whether something that it made was granted to somebody from the start: by default privileges, which a restore sets later.
    #[serde(default)]
    pub granted: bool,
    /// The schema's fingerprint when the statement began; `None` where nobody looked.
    #[serde(default)]
    pub before: Option<String>,
    /// The same when it ended.
    #[serde(default)]
    pub after: Option<String>,
}

/// A name as a statement writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenName {
    /// `None` where the `search_path` decides.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
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
    /// `ALTER TABLE … ADD COLUMN`: NULL in every row that is there.
    NewColumns {
        /// The table.
        name: WrittenName,
        /// The columns, in their order.
        columns: Vec<String>,
    },
    /// `CREATE INDEX` on columns.
    NewIndex,
    /// `COMMENT ON` a table or a column.
    Comment,
}

/// Reads a statement; `None` for one that is not plain. The parser is not everybody's dependency.
pub type ParseStatement = fn(&str) -> Option<PlainStatement>;

/// For whom no statement is plain: every change of the schema ends what can be restored to.
#[must_use]
pub fn no_plain_statement(_statement: &str) -> Option<PlainStatement> {
    None
}

/// What a statement does to rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaEffect {
    /// A table without rows.
    NewTable {
        /// The table.
        table: TableName,
        /// Its columns, in their order.
        columns: Vec<String>,
    },
    /// Columns behind the others, NULL in every row.
    NewColumns {
        /// The table.
        table: TableName,
        /// The columns, in their order.
        columns: Vec<String>,
    },
    /// Nothing.
    Nothing,
}

/// A statement that a restore runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStatement {
    /// What kind.
    pub command: String,
    /// All that it touched.
    pub objects: Vec<String>,
    /// Who runs it.
    pub role: String,
    /// With which `search_path`.
    pub search_path: String,
    /// Its text.
    pub statement: String,
    /// What it does to rows.
    pub effect: SchemaEffect,
}

impl SchemaStatement {
    /// Kind and name of tables, indexes and sequences that must be there behind it.
    pub fn relations(&self) -> impl Iterator<Item = &String> {
        let is_relation = |object: &&String| {
            ["table", "index", "sequence"].iter().any(|kind| identity(object, kind).is_some())
        };
        self.objects.iter().filter(is_relation)
    }

    /// Whether it makes this sequence.
    #[must_use]
    pub fn makes(&self, sequence: &SequenceName) -> bool {
        let made = self.objects.iter().filter_map(|object| identity(object, "sequence"));
        made.into_iter().any(|made| (&made.schema, &made.name) == (&sequence.schema, &sequence.name))
    }
}

impl DdlMessage {
    /// Whether the statement left the schema as it was.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.before.is_some() && self.before == self.after
    }

    /// What a restore runs again; `None` where that is not known for certain.
    #[must_use]
    pub fn statement(&self, parse: ParseStatement) -> Option<SchemaStatement> {
        let statement = self.statement.as_ref()?;
        let is_whole = self.objects_total == self.objects.len()
            && statement.chars().count() < STATEMENT_CHARACTERS
            // It would mean something else where standard_conforming_strings is off.
            && !statement.contains('\\');
        let path = self.search_path.to_lowercase();
        if !is_whole
            || self.inherits
            || self.granted
            || OWN_SCHEMAS.iter().any(|schema| path.contains(schema))
        {
            return None;
        }
        let effect = self.effect(parse(statement)?)?;
        Some(SchemaStatement {
            command: self.command.clone(),
            objects: self.objects.clone(),
            role: self.role.clone(),
            search_path: self.search_path.clone(),
            statement: statement.clone(),
            effect,
        })
    }

    /// What the parser read has to be what the server says that it did.
    fn effect(&self, plain: PlainStatement) -> Option<SchemaEffect> {
        let all_are = |kind: &str| self.objects.iter().all(|object| object.starts_with(kind));
        match (self.command.as_str(), plain) {
            ("CREATE TABLE", PlainStatement::NewTable { name, columns, relations }) => {
                let table = self.table(&name)?;
                self.has_only(&table, &relations).then_some(SchemaEffect::NewTable { table, columns })
            }
            ("ALTER TABLE", PlainStatement::NewColumns { name, columns }) if self.objects.len() == 1 => {
                Some(SchemaEffect::NewColumns { table: self.table(&name)?, columns })
            }
            ("CREATE INDEX", PlainStatement::NewIndex) if all_are("index ") => Some(SchemaEffect::Nothing),
            ("COMMENT", PlainStatement::Comment) if all_are("table ") => Some(SchemaEffect::Nothing),
            _ => None,
        }
    }

    /// The one table that was touched.
    fn table(&self, written: &WrittenName) -> Option<TableName> {
        let mut tables = self.objects.iter().filter_map(|object| identity(object, "table"));
        let table = tables.next().filter(|_| tables.next().is_none())?;
        let is_it = table.name == written.name
            && written.schema.as_ref().is_none_or(|schema| *schema == table.schema);
        is_it.then_some(table)
    }

    /// Whether the server named indexes and sequences as it does where nobody has these names: what it would name otherwise
    /// depends on what else is there, and a restore makes tables before indexes of others.
    fn has_only(&self, table: &TableName, relations: &[String]) -> bool {
        self.objects.iter().all(|object| {
            let made = identity(object, "index").or_else(|| identity(object, "sequence"));
            match made {
                Some(made) => made.schema == table.schema && relations.contains(&made.name),
                None => object.starts_with("table "),
            }
        })
    }
}

/// Whether these statements, in their order, are all that led from one fingerprint to the other. Each must begin with the schema
/// that the one before it left, and none may bring back one that was there before.
#[must_use]
pub fn is_all_told(from: &str, to: &str, messages: &[DdlMessage]) -> bool {
    let (mut now, mut seen) = (from, BTreeSet::from([from]));
    for message in messages.iter().filter(|message| !message.is_idle()) {
        let (Some(before), Some(after)) = (message.before.as_deref(), message.after.as_deref()) else {
            return false;
        };
        if before != now || !seen.insert(after) {
            return false;
        }
        now = after;
    }
    now == to
}

/// Schema and name of an object of a kind, as the server quotes them: `table public."T"`.
fn identity(object: &str, kind: &str) -> Option<TableName> {
    let name = object.strip_prefix(kind)?.strip_prefix(' ')?;
    let (schema, rest) = identifier(name)?;
    let (name, rest) = identifier(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some(TableName { schema, name })
}

/// The first identifier of a text, and what stands behind it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', ' ', '"']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Some((name, behind)),
        }
    }
}

/// A statement that a restore ran again, as certificate and plan tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedStatement {
    /// What kind.
    pub command: String,
    /// What it touched.
    pub objects: Vec<String>,
}

impl From<&SchemaStatement> for RepeatedStatement {
    fn from(statement: &SchemaStatement) -> Self {
        Self { command: statement.command.clone(), objects: statement.objects.clone() }
    }
}

impl std::fmt::Display for RepeatedStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.command, self.objects.join(", "))
    }
}

#[cfg(test)]
#[path = "schema_replay_tests.rs"]
mod tests;
