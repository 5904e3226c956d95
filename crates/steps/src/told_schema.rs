//! What the transactions of a segment told that they defined, and whether a restore can run all of it again.

use keepsake_domain::{
    DDL_MESSAGE_FORMAT, DdlMessage, Lsn, NotCaptured, NotPlain, ParseStatement, SchemaChange, is_all_told,
};

/// Definitions that a segment's manifest tells, and objects of each: a migration may have thousands, and a manifest is small.
const CHANGES_TOLD: usize = 100;
const OBJECTS_TOLD: usize = 5;

/// Kinds of objects that are dropped by altering what they belong to.
const PARTS: [&str; 3] = ["table column ", "table constraint ", "default value "];

/// Gathered message by message.
#[derive(Debug)]
pub(crate) struct ToldSchema {
    changes: Vec<SchemaChange>,
    /// `None` when it was more than is kept.
    told: Option<Vec<Told>>,
}

#[derive(Debug)]
struct Told {
    /// Which of the changes it tells of.
    change: usize,
    message: DdlMessage,
}

impl Default for ToldSchema {
    fn default() -> Self {
        Self { changes: Vec::new(), told: Some(Vec::new()) }
    }
}

impl ToldSchema {
    /// Takes a message of the transaction whose commit record begins there. Anybody may leave messages under this name: what is
    /// none of ours is not told.
    pub(crate) fn take(&mut self, commit_lsn: Lsn, content: &[u8]) {
        let Ok(message) = serde_json::from_slice::<DdlMessage>(content) else { return };
        let objects = message.objects.iter().take(OBJECTS_TOLD).map(|object| short(object));
        if let Some(change) = self.goes_on(commit_lsn, &message) {
            let known = &mut self.changes[change].objects;
            let more: Vec<String> = objects.filter(|object| !known.contains(object)).collect();
            known.extend(more.into_iter().take(OBJECTS_TOLD.saturating_sub(known.len())));
        } else if self.changes.len() == CHANGES_TOLD {
            self.told = None;
            return;
        } else {
            let (command, objects) = (short(&message.command), objects.collect());
            self.changes.push(SchemaChange { lsn: commit_lsn, command, objects, not_plain: None });
        }
        let change = self.changes.len() - 1;
        self.told.iter_mut().for_each(|told| told.push(Told { change, message: message.clone() }));
    }

    /// A statement that drops a part of something tells of both, one behind the other.
    fn goes_on(&self, commit_lsn: Lsn, message: &DdlMessage) -> Option<usize> {
        let Told { change, message: last } = self.told.as_ref()?.last()?;
        let is_part = |kind| last.objects.first().is_some_and(|object| object.starts_with(kind));
        let is_one = self.changes[*change].lsn == commit_lsn
            && PARTS.into_iter().any(is_part)
            && message.statement.is_some()
            && (&last.command, &last.statement) == (&message.command, &message.statement);
        is_one.then_some(*change)
    }

    /// Whether the schema became this one by all that was told, and by nothing else.
    fn leads(&self, from: &str, to: &str) -> bool {
        self.told.is_some() && is_all_told(from, to, self.messages())
    }

    /// Whether what was told leads to another schema than this one, so that what is missing may be told later.
    pub(crate) fn is_short_of(&self, from: &str, to: &str) -> bool {
        let reached = self.messages().last().map_or(Some(from), |last| last.after.as_deref());
        reached.is_some_and(|reached| reached != to && self.leads(from, reached))
    }

    /// Those that changed anything.
    fn messages(&self) -> impl Iterator<Item = &DdlMessage> {
        let told = self.told.iter().flatten().map(|told| &told.message);
        told.filter(|message| !message.is_idle())
    }

    /// The changes, each with why it is not plain, and whether a restore can run them again: all that was told is plain, and
    /// nothing else happened.
    pub(crate) fn judged(
        mut self,
        (from, to): (&str, &str),
        not_captured: &[NotCaptured],
        parse: ParseStatement,
    ) -> (Vec<SchemaChange>, bool) {
        let is_all = self.leads(from, to);
        for Told { change, message } in self.told.iter().flatten().filter(|told| !told.message.is_idle()) {
            let why = not_plain(message, not_captured, parse).map(|why| why.to_string());
            let known = &mut self.changes[*change].not_plain;
            *known = known.take().or(why);
        }
        let is_plain = self.changes.iter().all(|change| change.not_plain.is_none());
        (self.changes, is_all && is_plain)
    }
}

/// Why a restore cannot run it again. A table that is not captured has rows that no restore would know.
fn not_plain(message: &DdlMessage, not_captured: &[NotCaptured], parse: ParseStatement) -> Option<NotPlain> {
    match message.statement(parse) {
        Err(why) => Some(why),
        Ok(one) if not_captured.iter().any(|table| one.effect.needs_rows_of(&table.table)) => {
            Some(NotPlain::RowsUnknown)
        }
        Ok(_) if message.format < DDL_MESSAGE_FORMAT => Some(NotPlain::Older),
        Ok(_) => message.after.is_none().then_some(NotPlain::NotLookedAt),
    }
}

/// Two names of 63 bytes and what kind it is, quoted, take less.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
