//! Databases near the limits of a server: very many tables, very many columns.

use crate::server::{Database, Server};
use crate::trial::judge;

/// Enough to be more than one batch of anything; `KEEPSAKE_JUDGE_TABLES=10000` takes minutes.
const TABLES: u32 = 300;

#[test]
fn many_small_tables_come_back() {
    let asked = std::env::var("KEEPSAKE_JUDGE_TABLES").ok();
    let tables = asked.map_or(TABLES, |text| text.parse().expect("KEEPSAKE_JUDGE_TABLES: a number"));
    let source = Database::on(&Server::source());
    // A transaction for each hundred: one may not lock so many tables.
    source.sql(&format!(
        "DO $$ BEGIN FOR i IN 1..{tables} LOOP
            EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', i);
            EXECUTE format('INSERT INTO t%s SELECT n, ''row '' || n FROM generate_series(1, 3) n', i);
            IF i % 100 = 0 THEN COMMIT; END IF;
        END LOOP; END $$"
    ));
    judge(&source, &Server::target(), "", &[]);
}

/// As many as a table can have. A row must fit into a page, so most values are small or null.
#[test]
fn a_table_of_1600_columns_comes_back() {
    let source = Database::on(&Server::source());
    source.sql(
        "DO $$ BEGIN
            EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg(format('\"column %s\" %s', n,
                CASE n % 4 WHEN 0 THEN 'text' WHEN 1 THEN 'integer' WHEN 2 THEN 'boolean' ELSE 'smallint' END), ', ')
                || ')' FROM generate_series(1, 1600) n);
            EXECUTE (SELECT 'INSERT INTO wide SELECT ' || string_agg(
                CASE n % 4 WHEN 0 THEN format('CASE WHEN i = %s THEN ''only here'' END', n)
                    WHEN 1 THEN format('i + %s', n) WHEN 2 THEN 'i % 2 = 0' ELSE format('nullif(i %% 7, %s)', n % 7)
                END, ', ') || ' FROM generate_series(1, 1000) i' FROM generate_series(1, 1600) n);
        END $$",
    );
    assert_eq!(
        source.sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 0"),
        "1600"
    );
    judge(&source, &Server::target(), "", &[]);
}
