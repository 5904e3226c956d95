//! Foreign keys from or to a table that holds the backup's rows in a restore to a point in time, since its changes are not
//! captured: rows of one side may refer to rows that the other does not hold at that point. Of a partitioned table it is
//! enough that one partition is such a one, also where both sides are the same table.
//!
//! Such a key is tried by itself, behind everything else. If rows stand against it, it is made without looking at them, and
//! told: a restore of hours must not fail in its last minute for rows that the source never had side by side.

use super::books;
use super::pg_restore::Restore;
use super::programs::{broken, failed};
use super::unlinked::Unlinked;
use crate::error::sql_state;
use crate::session::Session;
use keepsake_domain::{LeftOut, LeftOutRule, SchemaEntry, TableName, quote_identifier};
use keepsake_steps::ports::TargetError;
use std::collections::BTreeSet;
use tokio_postgres::error::SqlState;

/// One foreign key, as the archive makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    name: String,
    table: TableName,
    refers_to: TableName,
    /// `ALTER TABLE … ADD CONSTRAINT …`, without a semicolon.
    statement: String,
    /// `COMMENT ON CONSTRAINT …`, if it has one.
    comment: Option<String>,
}

/// Entries of post-data, parted into those that `pg_restore` makes and foreign keys that rows may stand against.
pub(super) async fn part<'a>(
    session: &Session,
    restore: &Restore,
    archive: &Unlinked,
    entries: &'a [(&'a str, SchemaEntry)],
) -> Result<(Vec<&'a str>, Vec<ForeignKey>), TargetError> {
    let all = || entries.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    let old = of_backup(session).await?;
    let candidates = candidates(entries);
    if old.is_empty() || candidates.is_empty() {
        return Ok((all(), Vec::new()));
    }
    let lines: Vec<&str> =
        candidates.iter().flat_map(|(key, comment)| [Some(*key), *comment]).flatten().collect();
    let list = Unlinked::holding(lines.join("\n").as_bytes()).await.map_err(broken)?;
    let script = restore.script(&archive.path(), &list.path()).await;
    let script = script.map_err(|failure| failed("the schema", failure))?;
    // What is not printed as expected is left to `pg_restore`, whose errors fail the restore.
    let Some(keys) = parse(&script, &candidates) else { return Ok((all(), Vec::new())) };
    let mut apart = BTreeSet::new();
    let mut uncertain = Vec::new();
    for ((line, comment), key) in candidates.iter().zip(keys) {
        if old.contains(&key.table) || old.contains(&key.refers_to) {
            apart.extend([Some(*line), *comment].into_iter().flatten());
            uncertain.push(key);
        }
    }
    Ok((all().into_iter().filter(|line| !apart.contains(line)).collect(), uncertain))
}

/// Drops what an earlier try made of them.
pub(super) async fn drop_all(session: &Session, keys: &[ForeignKey]) -> Result<(), TargetError> {
    for key in keys {
        let (table, name) = (key.table.quoted(), quote_identifier(&key.name));
        let sql = format!("ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {name}");
        session.run("drop a foreign key, to make it again", &sql).await?;
    }
    Ok(())
}

/// Makes them, each in its own transaction.
pub(super) async fn make(session: &Session, keys: &[ForeignKey]) -> Result<(), TargetError> {
    for key in keys {
        let rule = key.make(session).await?;
        if let Some(rule) = rule {
            let name = "SELECT quote_ident($1) || ' on ' || quote_ident($2) || '.' || quote_ident($3)";
            let act = "name a foreign key";
            let named = session.one(act, name, &[&key.name, &key.table.schema, &key.table.name]).await?;
            let what = if rule == LeftOutRule::ForeignKey { "" } else { "validation of " };
            let object = format!("{what}foreign key {}", named.get::<_, String>(0));
            tracing::warn!(object, "rows stand against a foreign key of a table that is not captured");
            books::note_left_out(session, &[LeftOut { rule, object }]).await?;
        }
        if let Some(comment) = key.comment.as_ref().filter(|_| rule != Some(LeftOutRule::ForeignKey)) {
            session.run("comment on a foreign key", comment).await?;
        }
    }
    Ok(())
}

impl ForeignKey {
    /// Answers what of it could not be had.
    async fn make(&self, session: &Session) -> Result<Option<LeftOutRule>, TargetError> {
        let act = format!("make foreign key {} of table {}", self.name, self.table);
        let Err(error) = session.client.batch_execute(&self.statement).await else { return Ok(None) };
        let state = |error: &tokio_postgres::Error| sql_state(session.cause(error)).map(str::to_owned);
        if state(&error).as_deref() != Some(SqlState::FOREIGN_KEY_VIOLATION.code()) {
            return Err(session.failed(&act, &error).into());
        }
        let unproven = format!("{} NOT VALID", self.statement);
        let Err(error) = session.client.batch_execute(&unproven).await else {
            return Ok(Some(LeftOutRule::ForeignKeyValidation));
        };
        // Of a partitioned table only versions from 18 on make one without looking at the rows.
        match state(&error).as_deref() {
            Some(code)
                if code == SqlState::WRONG_OBJECT_TYPE.code()
                    || code == SqlState::FEATURE_NOT_SUPPORTED.code() =>
            {
                Ok(Some(LeftOutRule::ForeignKey))
            }
            _ => Err(session.failed(&act, &error).into()),
        }
    }
}

/// Tables that hold the backup's rows, with the tables above and below them.
async fn of_backup(session: &Session) -> Result<BTreeSet<TableName>, TargetError> {
    let named = books::as_of_backup(session).await?;
    if named.is_empty() {
        return Ok(named);
    }
    let sql = "
        WITH RECURSIVE named AS (
            SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN keepsake_restore.as_of_backup b ON b.schema_name = n.nspname AND b.table_name = c.relname),
        above AS (SELECT oid FROM named UNION SELECT i.inhparent FROM pg_inherits i JOIN above a ON a.oid = i.inhrelid),
        below AS (SELECT oid FROM named UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent)
        SELECT n.nspname, c.relname FROM (SELECT oid FROM above UNION SELECT oid FROM below) o
        JOIN pg_class c ON c.oid = o.oid JOIN pg_namespace n ON n.oid = c.relnamespace";
    let rows = session.all("read which tables hold the backup's rows", sql, &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect())
}

/// Each foreign key's line with that of its comment, which stands right behind it.
fn candidates<'a>(entries: &'a [(&'a str, SchemaEntry)]) -> Vec<(&'a str, Option<&'a str>)> {
    let is_key = |entry: &SchemaEntry| entry.kind == "FK CONSTRAINT" && !entry.is_attached;
    let keys = entries.iter().enumerate().filter(|(_, (_, entry))| is_key(entry));
    keys.map(|(index, (line, _))| {
        let next = entries.get(index + 1);
        let comment = next.filter(|(_, entry)| entry.is_attached && entry.kind == "CONSTRAINT");
        (*line, comment.map(|(line, _)| *line))
    })
    .collect()
}

/// The statements of a script, in the order of the list that it was made by; `None` where it is none of these.
fn parse(script: &str, candidates: &[(&str, Option<&str>)]) -> Option<Vec<ForeignKey>> {
    let mut blocks = script.split("\n--\n-- Name: ").skip(1);
    let mut statement = |begins: &str| {
        let block = blocks.next()?;
        let at = block.find(&format!("\n{begins}"))? + 1;
        let text = block[at..].split("\n\n\n").next()?.trim_end();
        Some(text.strip_suffix(';')?.to_owned())
    };
    let mut keys = Vec::new();
    for (_, comment) in candidates {
        let mut key = foreign_key(statement("ALTER TABLE ")?)?;
        if comment.is_some() {
            key.comment = Some(statement("COMMENT ON CONSTRAINT ")?);
        }
        keys.push(key);
    }
    blocks.next().is_none().then_some(keys)
}

/// Reads `ALTER TABLE ONLY a.b ADD CONSTRAINT c FOREIGN KEY (d) REFERENCES e.f(g)`.
fn foreign_key(statement: String) -> Option<ForeignKey> {
    let rest = statement.strip_prefix("ALTER TABLE ")?;
    let (table, rest) = table_name(rest.strip_prefix("ONLY ").unwrap_or(rest))?;
    let rest = rest.trim_start().strip_prefix("ADD CONSTRAINT ")?;
    let (name, rest) = identifier(rest)?;
    let rest = rest.strip_prefix(" FOREIGN KEY (")?;
    let (refers_to, _) = table_name(behind(rest, ") REFERENCES ")?)?;
    Some(ForeignKey { name, table, refers_to, statement, comment: None })
}

fn table_name(text: &str) -> Option<(TableName, &str)> {
    let (schema, rest) = identifier(text)?;
    let (name, rest) = identifier(rest.strip_prefix('.')?)?;
    Some((TableName { schema, name }, rest))
}

/// An identifier with or without quotes, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

/// What follows these words, where they do not stand within quotes.
fn behind<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let mut is_quoted = false;
    text.char_indices().find_map(|(at, c)| {
        is_quoted ^= c == '"';
        text[at..].strip_prefix(words).filter(|_| !is_quoted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, name: &str) -> TableName {
        TableName { schema: schema.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_foreign_key_is_read_whatever_its_names_are() {
        let plain = "ALTER TABLE ONLY public.gifts\n    ADD CONSTRAINT gifts_guest_fkey FOREIGN KEY (guest) REFERENCES \
                     public.guests(id) ON DELETE CASCADE";
        let key = foreign_key(plain.to_owned()).expect("a foreign key");
        assert_eq!((key.name.as_str(), key.table), ("gifts_guest_fkey", table("public", "gifts")));
        assert_eq!((key.refers_to, key.statement.as_str()), (table("public", "guests"), plain));
        let nasty = "ALTER TABLE \"A \"\".b\".\"c) REFERENCES x.y\"\n    ADD CONSTRAINT \"FOREIGN KEY (\" FOREIGN KEY \
                     (\"d) REFERENCES z.z(\") REFERENCES übung.\"T.\"(id) DEFERRABLE";
        let key = foreign_key(nasty.to_owned()).expect("a foreign key");
        assert_eq!((key.name.as_str(), key.table), ("FOREIGN KEY (", table("A \".b", "c) REFERENCES x.y")));
        assert_eq!(key.refers_to, table("übung", "T."));
        for other in
            ["", "ALTER TABLE x ADD CONSTRAINT y", "ALTER TABLE ONLY a.b ADD CONSTRAINT c CHECK (true)"]
        {
            assert_eq!(foreign_key(other.to_owned()), None, "{other}");
        }
    }

    #[test]
    fn a_script_is_taken_only_if_it_is_what_the_list_names() {
        let header = |name: &str, kind: &str| {
            format!("\n--\n-- Name: {name}; Type: {kind}; Schema: public; Owner: me\n--\n\n")
        };
        let key =
            "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT k FOREIGN KEY (b) REFERENCES public.b(id);\n\n";
        let comment = "COMMENT ON CONSTRAINT k ON public.a IS 'one;\n\nand two';\n\n";
        let end = "\n--\n-- PostgreSQL database dump complete\n--\n\n";
        let script = [
            "SET x = 1;\n\n".to_owned(),
            header("a k", "FK CONSTRAINT"),
            key.to_owned(),
            header("CONSTRAINT k ON a", "COMMENT"),
            comment.to_owned(),
            header("a k", "FK CONSTRAINT"),
            key.to_owned(),
            end.to_owned(),
        ]
        .concat();
        let keys = parse(&script, &[("1", Some("2")), ("3", None)]).expect("as listed");
        assert_eq!(
            keys[0].comment.as_deref(),
            Some("COMMENT ON CONSTRAINT k ON public.a IS 'one;\n\nand two'")
        );
        assert_eq!((keys[1].comment.as_deref(), keys.len()), (None, 2));
        assert_eq!(parse(&script, &[("1", Some("2"))]), None, "more than listed");
        assert_eq!(parse(&script, &[("1", None), ("2", None)]), None, "a comment where a key is listed");
    }
}
