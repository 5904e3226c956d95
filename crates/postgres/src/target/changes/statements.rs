//! The statements that apply a batch to one table. Rows are named by numbers, so that each can be counted.

use super::relation::Relation;
use crate::reader::column_list;
use keepsake_domain::quote_identifier;
use keepsake_steps::ports::{TableChange, Update};

const STAGE: &str = "pg_temp.keepsake_stage";
pub(super) const FILL_STAGE: &str = "COPY pg_temp.keepsake_stage FROM STDIN (FORMAT text)";
pub(super) const ANALYZE_STAGE: &str = "ANALYZE pg_temp.keepsake_stage";
pub(super) const DROP_STAGE: &str = "DROP TABLE pg_temp.keepsake_stage";

/// A temporary table with columns of the table's own types, so that the server reads values as it reads the table's; of a
/// domain the type below it.
fn stage(relation: &Relation, change: &TableChange, columns: &[String]) -> String {
    let columns = columns.join(", ");
    let from = relation.alone(&change.table);
    format!(
        "CREATE TEMPORARY TABLE keepsake_stage ON COMMIT DROP AS SELECT {columns} FROM {from} t WITH NO DATA"
    )
}

/// Of rows in `t` or `s`: `t."name"`, or for a key's or a row's places in the stage `s.k0`, `s.c0`.
fn staged(relation: &Relation, change: &TableChange, places: &[usize], letter: char) -> Vec<String> {
    let column = |(index, place): (usize, &usize)| {
        format!("{} AS {letter}{index}", relation.without_domain(&change.columns[*place]))
    };
    places.iter().enumerate().map(column).collect()
}

fn all_places(change: &TableChange) -> Vec<usize> {
    (0..change.columns.len()).collect()
}

fn own_columns(change: &TableChange) -> Vec<String> {
    change.columns.iter().map(|column| format!("t.{}", quote_identifier(column))).collect()
}

/// What each statement gives back: the number, and the row as it is compared.
fn numbered_row(change: &TableChange) -> String {
    [vec!["s.n".to_owned()], own_columns(change)].concat().join(", ")
}

fn same_key(relation: &Relation, change: &TableChange) -> String {
    let columns = change.key_columns().into_iter().zip(&relation.equalities).enumerate();
    let same = |(index, (column, equality)): (usize, (&str, &String))| {
        format!("t.{} OPERATOR({equality}) s.k{index}", quote_identifier(column))
    };
    columns.map(same).collect::<Vec<_>>().join(" AND ")
}

pub(super) fn stage_of_deletions(relation: &Relation, change: &TableChange) -> String {
    let mut columns = vec!["0::bigint AS n".to_owned()];
    if change.key.is_empty() {
        columns.push("0::bigint AS wanted".to_owned());
        columns.extend(staged(relation, change, &all_places(change), 'k'));
    } else {
        columns.extend(staged(relation, change, &change.key, 'k'));
    }
    stage(relation, change, &columns)
}

/// Between the numbers of a staged row and its columns; a table without columns has none.
pub(super) fn tab(change: &TableChange) -> &'static [u8] {
    if change.columns.is_empty() { b"" } else { b"\t" }
}

pub(super) fn delete(relation: &Relation, change: &TableChange) -> String {
    let (from, given_back) = (relation.alone(&change.table), numbered_row(change));
    let (using, condition) = if change.key.is_empty() {
        (
            format!("({})", places_of_whole_rows(relation, change)),
            "t.tableoid = s.part AND t.ctid = s.place".to_owned(),
        )
    } else {
        (STAGE.to_owned(), same_key(relation, change))
    };
    format!(
        "COPY (DELETE FROM {from} AS t USING {using} AS s WHERE {condition} RETURNING {given_back}) TO STDOUT \
         (FORMAT text)"
    )
}

/// As many as wanted of the rows that print equally: types without equality, and NULL, are compared so too. The server
/// joins by hash, which reads the table once for each batch.
fn places_of_whole_rows(relation: &Relation, change: &TableChange) -> String {
    let rows = own_columns(change).join(", ");
    let keys = (0..change.columns.len()).map(|index| format!("s.k{index}")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT n, part, place FROM (
            SELECT s.n, s.wanted, t.tableoid AS part, t.ctid AS place, row_number() OVER (PARTITION BY s.n) AS nth
            FROM {STAGE} s JOIN {} t ON ROW({rows})::text OPERATOR(pg_catalog.=) ROW({keys})::text) found
        WHERE nth <= wanted",
        relation.alone(&change.table)
    )
}

/// Places of the columns that some update leaves as they are.
pub(super) fn kept_columns(change: &TableChange) -> Vec<usize> {
    let mut kept: Vec<usize> = change.updates.iter().flat_map(|update| update.row.unchanged()).collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Number, key, whether each of the `kept` columns stays, and the row.
pub(super) fn stage_of_updates(relation: &Relation, change: &TableChange, kept: &[usize]) -> String {
    let mut columns = vec!["0::bigint AS n".to_owned()];
    columns.extend(staged(relation, change, &change.key, 'k'));
    columns.extend(kept.iter().map(|place| format!("false AS stays{place}")));
    columns.extend(staged(relation, change, &all_places(change), 'c'));
    stage(relation, change, &columns)
}

pub(super) fn staged_update(number: usize, update: &Update, kept: &[usize]) -> Vec<u8> {
    let unchanged = update.row.unchanged();
    let mut line = format!("{number}\t").into_bytes();
    line.extend_from_slice(update.key.line());
    for place in kept {
        line.extend_from_slice(if unchanged.contains(place) { b"\tt" } else { b"\tf" });
    }
    line.push(b'\t');
    line.extend_from_slice(update.row.with_null_for_unchanged().line());
    line
}

pub(super) fn rows_before_update(relation: &Relation, change: &TableChange) -> String {
    format!(
        "COPY (SELECT {} FROM {} AS t JOIN {STAGE} AS s ON {}) TO STDOUT (FORMAT text)",
        numbered_row(change),
        relation.alone(&change.table),
        same_key(relation, change)
    )
}

/// A value that stays is set to itself, and the server keeps it where it lies.
pub(super) fn update(relation: &Relation, change: &TableChange, kept: &[usize]) -> String {
    let (mut set, mut conditions) = (Vec::new(), vec![same_key(relation, change)]);
    for (place, column) in change.columns.iter().enumerate() {
        let name = quote_identifier(column);
        if relation.identities.contains(column) {
            // No update can set it, at the source neither: it is what it was.
            conditions.push(format!("t.{name} OPERATOR(pg_catalog.=) s.c{place}"));
        } else if kept.contains(&place) {
            set.push(format!("{name} = CASE WHEN s.stays{place} THEN t.{name} ELSE s.c{place} END"));
        } else {
            set.push(format!("{name} = s.c{place}"));
        }
    }
    format!(
        "COPY (UPDATE {} AS t SET {} FROM {STAGE} AS s WHERE {} RETURNING {}) TO STDOUT (FORMAT text)",
        relation.alone(&change.table),
        set.join(", "),
        conditions.join(" AND "),
        numbered_row(change)
    )
}

/// `COPY` sets identity columns to what it is given, `GENERATED ALWAYS` too.
pub(super) fn insert(change: &TableChange) -> String {
    format!("COPY {}{} FROM STDIN (FORMAT text)", change.table.quoted(), column_list(&change.columns))
}
