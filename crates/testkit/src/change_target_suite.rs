//! What every target of changes must do, as one test per claim. An adapter runs it with [`crate::change_target_suite!`].

use async_trait::async_trait;
use bytes::Bytes;
use keepsake_archive::pgoutput::Cell;
use keepsake_archive::{CopyRow, CopyText, RowsHasher};
use keepsake_domain::{Classified, FailureClass, Lsn, TableName};
use keepsake_steps::ports::{
    ChangeBatch, ChangePosition, ChangeTarget, Deletion, Insertion, TableChange, TargetError, Update,
};
use std::sync::Arc;

/// Makes targets for the suite.
#[async_trait]
pub trait ChangeTargetBench: Send + Sync {
    /// A restore that was begun, with two empty tables without keys: `public.guests (id text, name text, photo text)` and
    /// `public.lines (line text)`.
    async fn begun(&self) -> Arc<dyn BegunRestore>;
}

/// A target, and its rows as another looks at them.
#[async_trait]
pub trait BegunRestore: Send + Sync {
    /// The target.
    fn target(&self) -> &dyn ChangeTarget;
    /// Rows of a table of schema `public` as lines of `COPY`, sorted.
    async fn rows(&self, table: &str) -> Vec<String>;
    /// One row more, as somebody else writes it.
    async fn write(&self, table: &str, cells: &[&str]);
}

/// One `#[tokio::test]` per claim of the suite; `$bench` is an expression that makes a [`ChangeTargetBench`].
#[macro_export]
macro_rules! change_target_suite {
    ($bench:expr) => {
        $crate::change_target_suite!(@ $bench;
            a_batch_stands_once_however_often_it_comes,
            a_batch_of_another_position_is_refused_and_behind_the_end_every_new_one,
            sums_of_what_came_and_went_are_those_of_the_rows,
            rows_that_exchange_their_keys_keep_what_the_changes_do_not_carry,
            a_row_that_is_missing_or_doubled_is_told_and_nothing_of_its_batch_stays,
            rows_without_a_key_go_as_often_as_they_are_named,
            a_table_that_is_emptied_forgets_what_was_counted_before,
        );
    };
    (@ $bench:expr; $($claim:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::change_target_suite::$claim(&$bench).await;
            }
        )+
    };
}

/// The position behind so many batches.
fn position(number: u64) -> ChangePosition {
    ChangePosition { transaction: Lsn(number * 100), messages: number }
}

/// The batch of that number, with these changes.
fn batch(number: u64, tables: Vec<TableChange>) -> ChangeBatch {
    ChangeBatch { from: position(number - 1), to: position(number), tables }
}

fn cells(values: &[&str]) -> CopyRow {
    let cell = |value: &&str| match *value {
        "unchanged" => Cell::Unchanged,
        text => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
    };
    CopyRow::of(&values.iter().map(cell).collect::<Vec<_>>())
}

fn change(table: &str, columns: &[&str], key: &[usize]) -> TableChange {
    TableChange {
        table: TableName { schema: "public".to_owned(), name: table.to_owned() },
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        key: key.to_vec(),
        is_emptied: false,
        deletions: Vec::new(),
        updates: Vec::new(),
        insertions: Vec::new(),
    }
}

/// Of `guests`, whose key is its `id`.
fn guests() -> TableChange {
    change("guests", &["id", "name", "photo"], &[0])
}

/// Of `lines`, of which each is named by all that it is.
fn lines() -> TableChange {
    change("lines", &["line"], &[])
}

fn inserting(mut change: TableChange, rows: &[&[&str]]) -> TableChange {
    change.insertions.extend(rows.iter().map(|row| Insertion { row: cells(row), count: 1 }));
    change
}

fn deletion(key: &str, count: u64) -> Deletion {
    Deletion { key: cells(&[key]), count, lsn: Lsn(7) }
}

fn update(key: &str, row: &[&str]) -> Update {
    Update { key: cells(&[key]), row: cells(row), lsn: Lsn(8) }
}

fn sum(rows: &[&str]) -> CopyText {
    let mut hasher = RowsHasher::new();
    rows.iter().for_each(|row| hasher.update(format!("{row}\n").as_bytes()));
    hasher.finish().expect("whole lines")
}

async fn apply(begun: &dyn BegunRestore, batch: &ChangeBatch) -> Result<(), TargetError> {
    begun.target().change_applier().await?.apply(batch).await
}

async fn two_guests(begun: &dyn BegunRestore) {
    let rows = inserting(guests(), &[&["1", "one", "large"], &["2", "two", "larger"]]);
    apply(begun, &batch(1, vec![rows])).await.expect("two guests");
}

/// # Panics
/// When the claim does not hold.
pub async fn a_batch_stands_once_however_often_it_comes(bench: &dyn ChangeTargetBench) {
    let begun = bench.begun().await;
    let mut applier = begun.target().change_applier().await.expect("an applier");
    assert_eq!(applier.applied().await.expect("nothing").position, ChangePosition::default());
    let first = batch(1, vec![inserting(guests(), &[&["1", "one", "large"]])]);
    for _ in 0..2 {
        applier.apply(&first).await.expect("the first batch");
    }
    let mut other = begun.target().change_applier().await.expect("another");
    other.apply(&first).await.expect("the first batch again");
    assert_eq!(other.applied().await.expect("one").position, position(1));
    assert_eq!(begun.rows("guests").await, ["1\tone\tlarge"]);
}

/// # Panics
/// When the claim does not hold.
pub async fn a_batch_of_another_position_is_refused_and_behind_the_end_every_new_one(
    bench: &dyn ChangeTargetBench,
) {
    let begun = bench.begun().await;
    let [first, second, third] =
        [1, 2, 3].map(|number| batch(number, vec![inserting(lines(), &[&[&number.to_string()]])]));
    let early = apply(begun.as_ref(), &second).await.expect_err("the first is missing");
    assert_eq!(early.class(), FailureClass::Conflict, "{early}");
    for one in [&first, &second] {
        apply(begun.as_ref(), one).await.expect("in its turn");
    }
    for _ in 0..2 {
        begun.target().end_changes(&[]).await.expect("the end");
    }
    let mut applier = begun.target().change_applier().await.expect("to read where it stands");
    let late = applier.apply(&third).await.expect_err("behind the end");
    assert_eq!(late.class(), FailureClass::Conflict, "{late}");
    applier.apply(&second).await.expect("it stands");
    let applied = applier.applied().await.expect("the end");
    assert_eq!((applied.position, applied.has_ended), (position(2), true));
    assert_eq!(begun.rows("lines").await, ["1", "2"]);
}

/// # Panics
/// When the claim does not hold.
pub async fn sums_of_what_came_and_went_are_those_of_the_rows(bench: &dyn ChangeTargetBench) {
    let begun = bench.begun().await;
    two_guests(begun.as_ref()).await;
    let mut more = inserting(guests(), &[&["3", "three", "x"]]);
    more.deletions.push(deletion("1", 1));
    more.updates.push(update("2", &["2", "zwei", "unchanged"]));
    apply(begun.as_ref(), &batch(2, vec![more])).await.expect("changes");
    let mut applier = begun.target().change_applier().await.expect("an applier");
    let tables = applier.applied().await.expect("sums").tables;
    assert_eq!(tables.len(), 1);
    assert!(!tables[0].is_emptied);
    assert_eq!(tables[0].deleted, sum(&["1\tone\tlarge", "2\ttwo\tlarger"]));
    let inserted = ["1\tone\tlarge", "2\ttwo\tlarger", "2\tzwei\tlarger", "3\tthree\tx"];
    assert_eq!(tables[0].inserted, sum(&inserted));
    assert_eq!(begun.rows("guests").await, ["2\tzwei\tlarger", "3\tthree\tx"]);
}

/// # Panics
/// When the claim does not hold.
pub async fn rows_that_exchange_their_keys_keep_what_the_changes_do_not_carry(bench: &dyn ChangeTargetBench) {
    let begun = bench.begun().await;
    two_guests(begun.as_ref()).await;
    let mut exchanged = guests();
    exchanged.updates =
        vec![update("1", &["2", "one as two", "unchanged"]), update("2", &["1", "unchanged", "unchanged"])];
    apply(begun.as_ref(), &batch(2, vec![exchanged])).await.expect("exchanged");
    assert_eq!(begun.rows("guests").await, ["1\ttwo\tlarger", "2\tone as two\tlarge"]);
}

/// # Panics
/// When the claim does not hold.
pub async fn a_row_that_is_missing_or_doubled_is_told_and_nothing_of_its_batch_stays(
    bench: &dyn ChangeTargetBench,
) {
    for (is_doubled, wrong) in [(false, "9"), (true, "1")] {
        let begun = bench.begun().await;
        two_guests(begun.as_ref()).await;
        if is_doubled {
            begun.write("guests", &["1", "somebody else's", "x"]).await;
        }
        let before = begun.rows("guests").await;
        let mut deleting = inserting(guests(), &[&["4", "four", "x"]]);
        deleting.deletions = vec![deletion("2", 1), deletion(wrong, 1)];
        let mut updating = guests();
        updating.updates =
            vec![update("2", &["2", "zwei", "unchanged"]), update(wrong, &["8", "x", "unchanged"])];
        for change in [deleting, updating] {
            let both = batch(2, vec![inserting(lines(), &[&["a line"]]), change]);
            let told = apply(begun.as_ref(), &both).await.expect_err("a row that is not there once");
            let counted = match &told {
                TargetError::RowsDiffer { found, wanted, .. } => Some((*found, *wanted)),
                _ => None,
            };
            assert_eq!(counted, Some((2 * u64::from(is_doubled), 1)), "{told}");
            assert_eq!(told.class(), FailureClass::Integrity);
            assert_eq!(begun.rows("guests").await, before);
            assert_eq!(begun.rows("lines").await, [""; 0]);
        }
        let mut applier = begun.target().change_applier().await.expect("an applier");
        assert_eq!(applier.applied().await.expect("one batch").position, position(1));
    }
}

/// # Panics
/// When the claim does not hold.
pub async fn rows_without_a_key_go_as_often_as_they_are_named(bench: &dyn ChangeTargetBench) {
    let begun = bench.begun().await;
    let mut thrice = lines();
    thrice.insertions =
        vec![Insertion { row: cells(&["a"]), count: 3 }, Insertion { row: cells(&["b"]), count: 1 }];
    apply(begun.as_ref(), &batch(1, vec![thrice])).await.expect("four lines");
    let mut fewer = lines();
    fewer.deletions.push(deletion("a", 2));
    apply(begun.as_ref(), &batch(2, vec![fewer.clone()])).await.expect("two less");
    assert_eq!(begun.rows("lines").await, ["a", "b"]);
    let told = apply(begun.as_ref(), &batch(3, vec![fewer])).await.expect_err("only one is left");
    assert_eq!(told.class(), FailureClass::Integrity, "{told}");
    assert_eq!(begun.rows("lines").await, ["a", "b"]);
}

/// # Panics
/// When the claim does not hold.
pub async fn a_table_that_is_emptied_forgets_what_was_counted_before(bench: &dyn ChangeTargetBench) {
    let begun = bench.begun().await;
    two_guests(begun.as_ref()).await;
    let emptied = TableChange { is_emptied: true, ..inserting(guests(), &[&["5", "five", "x"]]) };
    apply(begun.as_ref(), &batch(2, vec![emptied])).await.expect("emptied");
    let mut applier = begun.target().change_applier().await.expect("an applier");
    let tables = applier.applied().await.expect("sums").tables;
    assert!(tables[0].is_emptied);
    assert_eq!((tables[0].deleted, tables[0].inserted), (CopyText::default(), sum(&["5\tfive\tx"])));
    assert_eq!(begun.rows("guests").await, ["5\tfive\tx"]);
}
