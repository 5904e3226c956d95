//! Rules 2 and 7 for statements that are run again: whatever call of the target fails, and wherever a restore dies, each
//! statement stands once when the same restore was begun again.

use crate::one_fault::Kind;
use keepsake_domain::{Classified, FailureClass, NewColumn, SchemaEffect, SchemaStatement, TableName};
use keepsake_steps::ports::SchemaTarget;
use keepsake_steps::{SchemaPhase, StepError, define_schema, refuse_roles};
use keepsake_testkit::{Faults, Faulty, MemoryTable, MemoryTarget};
use std::collections::BTreeSet;
use std::sync::Arc;

fn named(name: &str) -> TableName {
    TableName { schema: "public".to_owned(), name: name.to_owned() }
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn added(columns: &[(&str, Option<&str>)]) -> Vec<NewColumn> {
    let column = |(name, value): &(&str, Option<&str>)| NewColumn {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
    };
    columns.iter().map(column).collect()
}

fn statement(effect: SchemaEffect) -> SchemaStatement {
    SchemaStatement {
        command: "ALTER TABLE".to_owned(),
        objects: Vec::new(),
        role: "app".to_owned(),
        search_path: "public".to_owned(),
        statement: "one".to_owned(),
        effect,
    }
}

/// One of each effect on rows, and a second column of the table that the first one makes.
fn statements() -> Vec<SchemaStatement> {
    let (guests, seats) = (named("guests"), named("seats"));
    let effects = [
        SchemaEffect::NewTable { table: seats.clone(), columns: columns(&["id"]) },
        SchemaEffect::Nothing,
        SchemaEffect::NewColumns { table: guests, columns: added(&[("seat", None), ("song", Some("none"))]) },
        SchemaEffect::NewColumns { table: seats, columns: added(&[("row", None)]) },
    ];
    effects.map(statement).to_vec()
}

fn target() -> MemoryTarget {
    let target = MemoryTarget::new();
    target.tamper(|database| {
        database.tables = vec![MemoryTable::new("guests", &["id"], ["1".to_owned()])];
    });
    target
}

/// What a restore does before rows and behind all.
async fn run(target: &MemoryTarget, faults: &Arc<Faults>) -> Result<(), StepError> {
    let target: Arc<dyn SchemaTarget> = Arc::new(target.clone());
    let target = Faulty::new(target, faults);
    refuse_roles(&target, &statements()).await?;
    define_schema(&target, &statements(), SchemaPhase::BeforeRows).await?;
    define_schema(&target, &statements(), SchemaPhase::BehindAll).await
}

/// Each statement once.
fn check(target: &MemoryTarget, at: &str) {
    let tables = target.database().tables;
    let found: Vec<_> = tables.iter().map(|one| (one.columns.join(" "), one.rows.concat())).collect();
    let expected = [("id seat song", "1\t\\N\tnone"), ("id row", "")];
    assert_eq!(found, expected.map(|(columns, rows)| (columns.to_owned(), rows.to_owned())), "{at}");
}

/// What runs statements again, by the operations of its port.
pub(crate) async fn operations() -> BTreeSet<String> {
    let faults = Arc::new(Faults::new());
    run(&target(), &faults).await.unwrap();
    faults.calls().into_keys().collect()
}

#[tokio::test]
async fn a_fault_at_any_call_while_statements_are_run_again_and_a_death_at_any_leaves_each_once() {
    let faults = Arc::new(Faults::new());
    let whole = target();
    run(&whole, &faults).await.unwrap();
    check(&whole, "without a fault");
    let calls = faults.calls();
    assert_eq!(calls["SchemaTarget.define"], 4, "{calls:?}");
    for (kind, number) in calls.iter().flat_map(|(kind, count)| (0..*count).map(move |number| (kind, number)))
    {
        for how in Kind::ALL {
            let at = format!("{kind} {number} {how:?}");
            let target = target();
            let faults = how.at(kind, number);
            tokio::select! {
                biased;
                outcome = run(&target, &faults) => {
                    let error = outcome.expect_err(&at);
                    assert_eq!(error.class(), FailureClass::Transient, "{at}: {error}");
                }
                () = how.dies(&faults, kind, number) => {}
            }
            run(&target, &Arc::default()).await.unwrap_or_else(|error| panic!("{at}: {error}"));
            check(&target, &at);
        }
    }
}

#[tokio::test]
async fn a_target_that_an_earlier_restore_brought_further_is_refused() {
    let target = target();
    run(&target, &Arc::default()).await.unwrap();
    let fewer = &statements()[..3];
    let refused = define_schema(&target, fewer, SchemaPhase::BeforeRows).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict);
}

#[tokio::test]
async fn a_restore_that_died_and_goes_on_to_a_point_where_a_statement_is_taken_back_runs_each_once() {
    let (table, column) = (named("guests"), "id".to_owned());
    let mut until = vec![statement(SchemaEffect::Required { table: table.clone(), column: column.clone() })];
    until.extend(statements());
    let target = target();
    define_schema(&target, &until, SchemaPhase::BeforeRows).await.unwrap();
    until.push(statement(SchemaEffect::Nullable { table, column }));
    define_schema(&target, &until, SchemaPhase::BeforeRows).await.unwrap();
    define_schema(&target, &until, SchemaPhase::BehindAll).await.unwrap();
    check(&target, "to a later point");
}
