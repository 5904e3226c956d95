//! Which changes of a schema a restore may repeat: those of which it is known that nothing else changed the schema, and what
//! each statement did.

use crate::{
    NewColumn, NotPlain, ParseStatement, PlainStatement, SchemaEffect, SequenceName, TableName,
    WrittenColumn, WrittenName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What the source promises of the message: [`DDL_MESSAGE_FORMAT`](crate::DDL_MESSAGE_FORMAT), or less where an older program
    /// watches it.
    #[serde(default)]
    pub format: u32,
    /// What columns hold in rows that are older than they are, as the server prints it; those that hold NULL there are not named.
    #[serde(default)]
    pub filled: Option<BTreeMap<String, String>>,
    /// The schema's fingerprint when the statement began; `None` where nobody looked.
    #[serde(default)]
    pub before: Option<String>,
    /// The same when it ended.
    #[serde(default)]
    pub after: Option<String>,
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

    /// What a restore runs again.
    ///
    /// # Errors
    /// [`NotPlain`] where that is not known for certain.
    pub fn statement(&self, parse: ParseStatement) -> Result<SchemaStatement, NotPlain> {
        let statement = self.statement.as_ref().ok_or(NotPlain::NotTold)?;
        let is_whole = self.objects_total == self.objects.len()
            && statement.chars().count() < STATEMENT_CHARACTERS
            // It would mean something else where standard_conforming_strings is off.
            && !statement.contains('\\');
        let path = self.search_path.to_lowercase();
        let names_own = OWN_SCHEMAS.iter().any(|schema| path.contains(schema));
        for (is_so, why) in [
            (!is_whole, NotPlain::NotWhole),
            (self.inherits, NotPlain::Inherits),
            (self.granted, NotPlain::Granted),
            (names_own, NotPlain::SearchPath),
        ] {
            if is_so {
                return Err(why);
            }
        }
        let effect = parse(statement).and_then(|plain| self.effect(plain)).ok_or(NotPlain::Other)?;
        Ok(SchemaStatement {
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
            ("ALTER TABLE", plain) => self.altered(plain),
            ("CREATE INDEX", PlainStatement::NewIndex { unique_in }) if all_are("index ") => Some(
                unique_in
                    .map_or(SchemaEffect::Nothing, |name| SchemaEffect::Constrained { tables: vec![name] }),
            ),
            ("COMMENT", PlainStatement::Comment) if all_are("table ") => Some(SchemaEffect::Nothing),
            _ => None,
        }
    }

    fn altered(&self, plain: PlainStatement) -> Option<SchemaEffect> {
        let only = |name: &WrittenName| self.table(name).filter(|_| self.objects.len() == 1);
        match plain {
            PlainStatement::NewColumns { name, columns } => {
                let table = only(&name)?;
                let columns =
                    columns.into_iter().map(|column| self.new_column(column)).collect::<Option<_>>()?;
                Some(SchemaEffect::NewColumns { table, columns })
            }
            PlainStatement::Nullable { name, column } => {
                Some(SchemaEffect::Nullable { table: only(&name)?, column })
            }
            PlainStatement::Required { name, column } => {
                Some(SchemaEffect::Required { table: only(&name)?, column })
            }
            PlainStatement::Altered { name, mut refers_to, relations } => {
                let table = self.table(&name)?;
                refers_to.push(WrittenName { schema: Some(table.schema.clone()), name: table.name.clone() });
                let effect = SchemaEffect::Constrained { tables: refers_to };
                self.has_only(&table, &relations).then_some(effect)
            }
            _ => None,
        }
    }

    /// The server has to tell of a value exactly where the statement has one.
    fn new_column(&self, written: WrittenColumn) -> Option<NewColumn> {
        let value = self.filled.as_ref().and_then(|filled| filled.get(&written.name)).cloned();
        (value.is_some() == written.is_filled).then_some(NewColumn { name: written.name, value })
    }

    /// The one table that was touched.
    fn table(&self, written: &WrittenName) -> Option<TableName> {
        let mut tables = self.objects.iter().filter_map(|object| identity(object, "table"));
        let table = tables.next().filter(|_| tables.next().is_none())?;
        written.may_be(&table).then_some(table)
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
pub fn is_all_told<'a>(from: &'a str, to: &str, messages: impl IntoIterator<Item = &'a DdlMessage>) -> bool {
    let (mut now, mut seen) = (from, BTreeSet::from([from]));
    for message in messages.into_iter().filter(|message| !message.is_idle()) {
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

/// Without what a later one takes back: a column that was given `NOT NULL` and lost it again may hold NULL in rows since. Each
/// with its number among all, from 1, which stays whatever follows.
#[must_use]
pub fn without_undone(statements: &[SchemaStatement]) -> Vec<(u64, &SchemaStatement)> {
    let is_undone = |index: usize, statement: &SchemaStatement| match &statement.effect {
        SchemaEffect::Required { table, column } => {
            let undone = SchemaEffect::Nullable { table: table.clone(), column: column.clone() };
            statements[index..].iter().any(|later| later.effect == undone)
        }
        _ => false,
    };
    let kept = statements.iter().enumerate().filter(|(index, statement)| !is_undone(*index, statement));
    kept.map(|(index, statement)| (index as u64 + 1, statement)).collect()
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
