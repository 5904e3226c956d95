//! Brings our publication to what can be captured, table by table where need be: one that is locked or dropped meanwhile
//! keeps no other out.

use super::publication::{NARROWED_SINCE, PUBLISHED, Table, stands, tables};
use super::slot::SlotName;
use crate::session::Session;
use keepsake_domain::{TableName, quote_identifier};
use keepsake_steps::ports::SourceError;

/// Tables in one statement, so that it stays small.
const AT_ONCE: usize = 500;

/// For the locks that publishing needs. Nobody who reads or writes waits behind them; who changes the definition of a
/// table does, for so long.
const PATIENCE: &str = "SET LOCAL lock_timeout = '1s'";

/// Tables that are tried one by one and fail, in one call: so many seconds are waited for locks. The rest is left to the
/// next call, which a stream makes at each boundary.
const FAILURES: usize = 10;

/// What must leave the publication, in the words of the statement that takes it out.
const STRANGERS: &str = "
    SELECT format('TABLE ONLY %I.%I', n.nspname, c.relname) FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
        JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.pubname::text = $1 AND c.relkind <> 'r'";
const SCHEMAS: &str = "
    UNION ALL SELECT format('TABLES IN SCHEMA %I', n.nspname) FROM pg_publication p
        JOIN pg_publication_namespace s ON s.pnpubid = p.oid JOIN pg_namespace n ON n.oid = s.pnnspid
    WHERE p.pubname::text = $1";

/// What a call could not do now, and what it undid of others.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    /// Tables that stay as they are until the next call.
    pub left: Vec<TableName>,
    /// What somebody else had made of the publication: changes in between may not have been streamed.
    pub undone: Vec<String>,
}

/// Takes out what must not be published, which keeps the source's own statements from failing, so it comes first. Then sees
/// to it that every kind of change and every row of a table is published, and takes tables in that are new.
///
/// # Errors
/// When the connection broke, or the publication is not there. Single tables are left out and told.
pub(super) async fn align(
    session: &Session,
    slot: &SlotName,
    tables: &[Table],
) -> Result<Aligned, SourceError> {
    let mut aligning = Aligning { session, slot, failures: 0, aligned: Aligned::default() };
    let which = |wanted: &dyn Fn(&&Table) -> bool| -> Vec<TableName> {
        tables.iter().filter(wanted).map(|table| table.name.clone()).collect()
    };
    aligning.strangers().await?;
    let narrowed = which(&|table| table.is_narrowed && table.obstacle.is_none());
    let narrowed_told = narrowed.iter().map(|table| format!("rows or columns of {table} were left out"));
    aligning.aligned.undone.extend(narrowed_told);
    let gone = which(&|table| table.is_published && (table.is_narrowed || table.obstacle.is_some()));
    aligning.change("DROP", gone).await?;
    aligning.publish_everything().await?;
    let new = which(&|table| table.obstacle.is_none() && (table.is_narrowed || !table.is_published));
    aligning.change("ADD", new).await?;
    Ok(aligning.aligned)
}

/// Takes tables in that are new, and out those that lost their identity, where there is a publication. What cannot be done
/// now is told and left to the next time: changes that are not streamed would cost the source its disk.
pub(super) async fn mend(session: &Session, slot: &SlotName) {
    let mended = async {
        if !stands(session, slot).await? {
            return Ok(Aligned::default());
        }
        align(session, slot, &tables(session, slot).await?).await
    };
    let slot = slot.name();
    match mended.await {
        Ok(Aligned { left, undone }) => {
            for table in left {
                tracing::warn!(slot, %table, "it is published, or taken out, as soon as its lock is granted");
            }
            for what in undone {
                tracing::warn!(
                    slot,
                    what,
                    "undone; changes in between may be missing: a full backup is needed"
                );
            }
        }
        Err(error) => {
            let cause = keepsake_domain::chain(&error);
            tracing::warn!(slot, cause, "the publication stays as it is; the next segment tries again");
        }
    }
}

/// Takes tables out that must not be published any more, and does nothing else; answers them.
///
/// # Errors
/// When the connection broke. Single tables are left out.
pub(super) async fn release(session: &Session, slot: &SlotName) -> Result<Vec<TableName>, SourceError> {
    let is_gone = |table: &Table| table.is_published && table.obstacle.is_some();
    let tables = tables(session, slot).await?;
    let gone: Vec<TableName> =
        tables.iter().filter(|table| is_gone(table)).map(|table| table.name.clone()).collect();
    let mut aligning = Aligning { session, slot, failures: 0, aligned: Aligned::default() };
    aligning.change("DROP", gone.clone()).await?;
    let left = aligning.aligned.left;
    Ok(gone.into_iter().filter(|table| !left.contains(table)).collect())
}

struct Aligning<'a> {
    session: &'a Session,
    slot: &'a SlotName,
    failures: usize,
    aligned: Aligned,
}

impl Aligning<'_> {
    async fn strangers(&mut self) -> Result<(), SourceError> {
        let schemas = if self.session.version >= NARROWED_SINCE { SCHEMAS } else { "" };
        let act = "read what is published";
        let sql = format!("{STRANGERS}{schemas}");
        for row in self.session.all(act, &sql, &[&self.slot.publication()]).await? {
            let what: String = row.get(0);
            if self.is_done(&format!("DROP {what}")).await? {
                self.aligned.undone.push(format!("{what} was published as a whole"));
            }
        }
        Ok(())
    }

    /// Somebody may have changed which kinds of changes are published: then updates or rows would be missing in silence.
    /// Where something was undone the publication is written anew as well, so that the schema's fingerprint changes.
    async fn publish_everything(&mut self) -> Result<(), SourceError> {
        let whole =
            "SELECT bool_and(pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot)
            FROM pg_publication WHERE pubname::text = $1";
        let act = "read what the publication publishes";
        let row = self.session.one(act, whole, &[&self.slot.publication()]).await?;
        if row.get::<_, Option<bool>>(0) == Some(false) {
            self.aligned.undone.push("some kinds of changes were left out".to_owned());
        }
        if !self.aligned.undone.is_empty() {
            self.alter(&format!("SET ({PUBLISHED})")).await?;
        }
        Ok(())
    }

    /// Many at once; where that fails, one by one.
    async fn change(&mut self, verb: &str, tables: Vec<TableName>) -> Result<(), SourceError> {
        for some in tables.chunks(AT_ONCE) {
            let names: Vec<String> = some.iter().map(|table| format!("ONLY {}", table.quoted())).collect();
            if self.is_done(&format!("{verb} TABLE {}", names.join(", "))).await? {
                continue;
            }
            for (table, name) in some.iter().zip(names) {
                let is_tried = self.failures < FAILURES;
                if !(is_tried && self.is_done(&format!("{verb} TABLE {name}")).await?) {
                    self.failures += 1;
                    self.aligned.left.push(table.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether it could be done; that it could not is told by whoever looks at the publication next.
    async fn is_done(&self, what: &str) -> Result<bool, SourceError> {
        match self.alter(what).await {
            Ok(()) => Ok(true),
            Err(error @ SourceError::Unreachable { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn alter(&self, what: &str) -> Result<(), SourceError> {
        let publication = quote_identifier(self.slot.publication());
        let sql = format!("BEGIN; {PATIENCE}; ALTER PUBLICATION {publication} {what}; COMMIT");
        let Err(error) = self.session.run("publish tables", &sql).await else { return Ok(()) };
        let _ = self.session.client.batch_execute("ROLLBACK").await;
        Err(error.into())
    }
}
