//! Rows of a backup in tables that the target's provider has made already: which are loaded, and which stay away.

use crate::{LeftOut, Provider, SequenceName, TableName};
use std::collections::BTreeMap;

/// What a backup holds of one table in a schema that the target's provider keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTable {
    /// Its columns, as its rows name them.
    pub columns: Vec<String>,
    /// How many rows.
    pub rows: u64,
}

/// Such a table as it stands in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvidedTable {
    /// Its columns but for generated ones, in their order.
    pub columns: Vec<String>,
    /// Why rows of the backup cannot be loaded there, seen from rights, triggers and what it holds; empty when they can.
    pub in_the_way: Vec<String>,
}

/// Everything that the decision is made from: the backup's side, and what the target has of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvidedFacts {
    /// The backup's tables in the provider's schemas.
    pub held: BTreeMap<TableName, HeldTable>,
    /// The backup's sequences in these schemas, and whether the target has each and the restoring role may set it.
    pub sequences: BTreeMap<SequenceName, bool>,
    /// Those of the tables that stand in the target.
    pub provided: BTreeMap<TableName, ProvidedTable>,
}

/// What a restore does with these rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvidedPlan {
    /// Tables whose rows are loaded into what the provider made, and are compared.
    pub loaded: Vec<TableName>,
    /// What stays the target's own.
    pub left_out: Vec<LeftOut>,
}

/// Whose rows a table of a provider's schema holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// The user's: accounts, names of files, hooks.
    Users,
    /// The provider's, about the very server that they stand on.
    Bookkeeping,
    /// The user's, and of no use on another server: encrypted with a key of that one, or kept by a tool of the user's.
    Bound,
}

/// Source: what `supabase db dump --data-only` of the CLI 2.116 leaves out, read 2026-11-21. It leaves out keys, secrets
/// and the history of the user's own migrations too; here these are no bookkeeping, since nobody else brings them.
fn rows_of(table: &TableName) -> Rows {
    match (table.schema.as_str(), table.name.as_str()) {
        ("auth", "schema_migrations") | ("storage" | "supabase_functions", "migrations") => Rows::Bookkeeping,
        ("auth" | "storage" | "supabase_functions", _) => Rows::Users,
        ("_analytics" | "_realtime" | "_supavisor" | "net" | "pgbouncer" | "realtime", _) => {
            Rows::Bookkeeping
        }
        _ => Rows::Bound,
    }
}

/// Decides for every table and sequence. A table without rows never stands in the way.
///
/// # Errors
/// Every reason for which rows or the place of a sequence would be lost.
pub fn provided_rows(provider: Provider, facts: &ProvidedFacts) -> Result<ProvidedPlan, Vec<String>> {
    let (mut plan, mut reasons) = (ProvidedPlan::default(), Vec::new());
    for (table, held) in &facts.held {
        let problems = problems(table, held, facts.provided.get(table));
        match rows_of(table) {
            Rows::Users if problems.is_empty() => plan.loaded.push(table.clone()),
            Rows::Users if held.rows > 0 => {
                reasons.push(format!("{table} has {} rows: {}", held.rows, problems.join(", ")));
            }
            Rows::Bound if held.rows > 0 => {
                reasons.push(format!("{table} has {} rows that mean nothing on another server", held.rows));
            }
            _ => plan.left_out.push(LeftOut::rows_of_provider(table)),
        }
    }
    for (sequence, may_be_set) in &facts.sequences {
        let table = TableName { schema: sequence.schema.clone(), name: sequence.name.clone() };
        match rows_of(&table) {
            _ if *may_be_set => {}
            Rows::Users => {
                reasons.push(format!("sequence {sequence} is not there, or the role may not set it"))
            }
            _ => plan.left_out.push(LeftOut::place_of_provider(sequence)),
        }
    }
    if reasons.is_empty() {
        return Ok(plan);
    }
    reasons.sort_unstable();
    reasons.insert(0, format!("its provider {} keeps schemas by itself", provider.name()));
    Err(reasons)
}

fn problems(table: &TableName, held: &HeldTable, provided: Option<&ProvidedTable>) -> Vec<String> {
    let Some(there) = provided else { return vec![format!("the target has no table {table}")] };
    let mut problems = there.in_the_way.clone();
    if held.columns != there.columns {
        problems.push(format!(
            "its columns are ({}) in the backup and ({}) in the target",
            held.columns.join(", "),
            there.columns.join(", ")
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableName {
        let (schema, name) = name.split_once('.').expect("schema.name");
        TableName { schema: schema.to_owned(), name: name.to_owned() }
    }

    fn sequence(name: &str) -> SequenceName {
        let TableName { schema, name } = table(name);
        SequenceName { schema, name }
    }

    /// As a project holds it, and a new project offers it.
    fn facts() -> ProvidedFacts {
        let columns = vec!["id".to_owned(), "email".to_owned()];
        let held = |rows| HeldTable { columns: columns.clone(), rows };
        let provided = ProvidedTable { columns: columns.clone(), in_the_way: Vec::new() };
        let filled = ProvidedTable { in_the_way: vec!["it is not empty".to_owned()], ..provided.clone() };
        ProvidedFacts {
            held: BTreeMap::from([
                (table("auth.users"), held(2)),
                (table("auth.schema_migrations"), held(60)),
                (table("realtime.messages_2026_11_20"), held(5)),
                (table("storage.objects"), held(0)),
                (table("vault.secrets"), held(0)),
            ]),
            sequences: BTreeMap::from([
                (sequence("auth.refresh_tokens_id_seq"), true),
                (sequence("pgsodium.key_key_id_seq"), false),
            ]),
            provided: BTreeMap::from([
                (table("auth.users"), provided.clone()),
                (table("auth.schema_migrations"), filled),
                (table("storage.objects"), provided),
            ]),
        }
    }

    fn left_out(plan: &ProvidedPlan) -> Vec<&str> {
        plan.left_out.iter().map(|one| one.object.as_str()).collect()
    }

    #[test]
    fn rows_of_the_user_are_loaded_and_the_providers_own_stay_the_targets() {
        let plan = provided_rows(Provider::Supabase, &facts()).expect("a plan");
        assert_eq!(plan.loaded, [table("auth.users"), table("storage.objects")]);
        assert_eq!(
            left_out(&plan),
            [
                "rows of table auth.schema_migrations",
                "rows of table realtime.messages_2026_11_20",
                "rows of table vault.secrets",
                "place of sequence pgsodium.key_key_id_seq",
            ]
        );
    }

    #[test]
    fn whatever_would_lose_a_row_of_the_user_is_refused_with_its_reason() {
        type Change = fn(&mut ProvidedFacts);
        let cases: [(Change, &str); 5] = [
            (|it| drop(it.provided.remove(&table("auth.users"))), "no table auth.users"),
            (
                |it| it.provided.get_mut(&table("auth.users")).expect("there").columns.reverse(),
                "(id, email) in the backup and (email, id) in the target",
            ),
            (
                |it| {
                    let there = it.provided.get_mut(&table("auth.users")).expect("there");
                    there.in_the_way.push("trigger greet would fire".to_owned());
                },
                "auth.users has 2 rows: trigger greet would fire",
            ),
            (
                |it| it.held.get_mut(&table("vault.secrets")).expect("there").rows = 1,
                "vault.secrets has 1 rows that mean nothing on another server",
            ),
            (
                |it| *it.sequences.values_mut().next().expect("there") = false,
                "sequence auth.refresh_tokens_id_seq",
            ),
        ];
        for (change, reason) in cases {
            let mut facts = facts();
            change(&mut facts);
            let reasons = provided_rows(Provider::Supabase, &facts).expect_err(reason);
            assert_eq!(reasons[0], "its provider supabase keeps schemas by itself");
            assert!(reasons[1..].iter().any(|one| one.contains(reason)), "{reason}: {reasons:?}");
        }
    }

    #[test]
    fn a_table_without_rows_that_the_target_lacks_loses_nothing() {
        let mut facts = facts();
        facts.provided.remove(&table("storage.objects"));
        let plan = provided_rows(Provider::Supabase, &facts).expect("a plan");
        assert_eq!(plan.loaded, [table("auth.users")]);
        assert!(left_out(&plan).contains(&"rows of table storage.objects"));
    }
}
