//! The same while the schema changes. What the window holds must be what Postgres recovers, and what it does not hold must be
//! refused by names that are right; how far the window goes over a change of the schema is not asked here.

use crate::commits::{lsn, lsn_text};
use crate::content::Content;
use crate::ours::Bench;
use crate::physical::recover;
use crate::source::Source;
use crate::target::Target;
use keepsake_testkit::cluster::{Major, finish, psql, psql_command, until};
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Output, Stdio};

/// Each between commits of four connections that write. Their own statements fit the tables before and behind each.
const DEFINITIONS: [&[&str]; 2] = [
    &[
        "ALTER TABLE accounts ADD COLUMN note text DEFAULT 'none'",
        "CREATE TABLE made (id serial PRIMARY KEY, v text NOT NULL)",
        "INSERT INTO made (v) SELECT 'row ' || n FROM generate_series(1, 20) n",
        "CREATE INDEX by_owner ON accounts (owner)",
        "UPDATE accounts SET note = 'seen' WHERE id % 5 = 0; UPDATE made SET v = v || '.' WHERE id > 10",
    ],
    &[
        "ALTER TABLE untouched ALTER v TYPE varchar(64)",
        "INSERT INTO untouched VALUES (1001, 'more')",
        "ALTER TABLE made RENAME COLUMN v TO w",
        "INSERT INTO made (w) VALUES ('renamed')",
        "DROP INDEX by_owner",
        "ALTER TABLE accounts DROP COLUMN note",
        "CREATE TABLE made_later (id integer PRIMARY KEY, made integer REFERENCES made)",
        "INSERT INTO made_later VALUES (1, 1)",
        "DROP TABLE made_later",
    ],
];

/// Targets anywhere beside those around the definitions. `KEEPSAKE_PITR_TARGETS=50` asks for a long suite.
const TARGETS: u64 = 1;

/// Transactions of each connection: before a full backup, while the schema changes, and behind that.
const TRANSACTIONS: u32 = 20;

/// Tries of a statement that waits for locks of the load, each of which is given up when its transaction ends.
const TRIES: u32 = 100;

/// Columns, indexes and constraints as their server prints them.
const SHAPE: &str = "SELECT 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'index', indrelid::regclass, pg_get_indexdef(indexrelid), '', indisvalid FROM pg_index
        JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace";

fn shape(url: &str) -> BTreeSet<String> {
    psql(url, SHAPE).lines().map(str::to_owned).collect()
}

/// Runs a statement between those of the load.
fn define(source: &Source, statement: &str) {
    let script = format!("SET lock_timeout = '1s'; {statement}");
    for _ in 0..TRIES {
        let mut psql = psql_command(&source.cluster.url());
        psql.args(["--set=ON_ERROR_STOP=1", "--command", &script]).stdin(Stdio::null());
        let ended = psql.output().unwrap();
        if ended.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("lock timeout") || said.contains("deadlock"), "{statement}: {said}");
    }
    panic!("{statement}: the load leaves it no lock");
}

struct Trial {
    source: Source,
    bench: Bench,
    seed: u64,
}

impl Trial {
    fn load(&mut self) -> crate::source::Load {
        self.seed = self.seed.wrapping_add(1);
        self.source.load(self.seed, TRANSACTIONS)
    }

    /// A position behind which nothing was begun before it.
    fn here(&self) -> u64 {
        lsn(&self.source.lsn())
    }

    /// Definitions under load; answers positions before all of them, between them, and behind them.
    fn define(&mut self, definitions: &[&str]) -> [u64; 3] {
        self.load().finish();
        let before = self.here();
        let load = self.load();
        self.is_captured_to(self.here());
        let (first, rest) = definitions.split_at(definitions.len() / 2);
        first.iter().for_each(|statement| define(&self.source, statement));
        let between = self.here();
        rest.iter().for_each(|statement| define(&self.source, statement));
        let behind = self.here();
        load.finish();
        // So that a full backup joins what is behind them.
        self.is_captured_to(self.here());
        [before, between, behind]
    }

    fn is_captured_to(&self, position_there: u64) {
        until("it is captured", || position(&self.bench.window()["captured"]) >= position_there);
    }
}

fn position(point: &Value) -> u64 {
    lsn(point["lsn"].as_str().unwrap())
}

/// First and last position of each span.
fn spans(window: &Value) -> Vec<(u64, u64)> {
    let spans = window["spans"].as_array().unwrap().iter();
    spans.map(|span| (position(&span["oldest"]), position(&span["newest"]))).collect()
}

#[test]
fn while_the_schema_changes_every_point_of_the_window_is_that_of_postgres_and_no_other_is_restored() {
    let seed = environment::seed("KEEPSAKE_PITR_SEED");
    let more = environment::number("KEEPSAKE_PITR_TARGETS").unwrap_or(TARGETS);
    eprintln!("point-in-time recovery while the schema changes: KEEPSAKE_PITR_SEED={seed}");
    let source = Source::new(Major::DEBIAN);
    let bench = Bench::new(&source, Major::DEBIAN);
    finish(&mut bench.of_source(&["protect"], &source));
    let mut trial = Trial { source, bench, seed };
    trial.load().finish();
    trial.source.base_backup();
    trial.bench.backup(&trial.source);
    let following = trial.bench.follow(&trial.source);
    let mut targets = Vec::new();
    for definitions in DEFINITIONS {
        targets.push(trial.define(definitions));
        trial.bench.backup(&trial.source);
    }
    trial.load().finish();
    let last = trial.here();
    trial.load().finish();
    trial.bench.end(following, &trial.source);
    trial.source.archive_all();

    let window = trial.bench.window();
    let spans = spans(&window);
    eprintln!("{} spans: {spans:X?}", spans.len());
    assert_eq!(spans.last().unwrap().1, position(&window["captured"]), "a new full backup goes on: {window}");
    // In front of, between and behind; what is behind the first ones is in front of a full backup, too.
    let [first, second] = [targets[0], targets[1]];
    let mut wanted = vec![first[0], first[1], second[1], last];
    let mut random = StdRng::seed_from_u64(seed);
    wanted.extend((0..more).map(|_| random.random_range(spans[0].0..last)));
    let mut tried = BTreeSet::new();
    for target in wanted {
        trial.judge(target, &spans, &mut tried);
    }
}

impl Trial {
    /// Before the position: both recoveries are equal, or ours is refused with the nearest points, which are equal.
    fn judge(&self, at: u64, spans: &[(u64, u64)], tried: &mut BTreeSet<u64>) {
        if !tried.insert(at) {
            return;
        }
        let target = Target::Lsn { lsn: at, inclusive: false };
        let (url, ended) = self.bench.try_restore(&format!("ours_{}", tried.len()), &target);
        if spans.iter().any(|(oldest, newest)| (*oldest..=*newest).contains(&at)) {
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{} is in the window: {said}", lsn_text(at));
            let theirs = recover(&self.source, &target, &format!("recovered-{}", tried.len()));
            let differences = Content::of(&theirs.url()).differences(&Content::of(&url));
            assert_eq!(differences, [""; 0], "at {}", lsn_text(at));
            assert_eq!(shape(&theirs.url()), shape(&url), "at {}", lsn_text(at));
            eprintln!("{}: equal", lsn_text(at));
            return;
        }
        let nearest = refused(at, &ended, spans);
        assert_eq!(
            psql(&url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
            "0"
        );
        eprintln!("{}: refused, the nearest are {nearest:X?}", lsn_text(at));
        nearest.into_iter().for_each(|near| self.judge(near, spans, tried));
    }
}

/// A refusal says why, and names the nearest points that can be restored; answers them.
fn refused(at: u64, ended: &Output, spans: &[(u64, u64)]) -> Vec<u64> {
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(12), "{} is not in the window: {said}", lsn_text(at));
    let before = spans.iter().map(|span| span.1).rfind(|newest| *newest < at);
    let behind = spans.iter().map(|span| span.0).find(|oldest| *oldest > at);
    for (side, near) in [("before", before), ("behind", behind)] {
        let Some(near) = near else { continue };
        let named = format!("the nearest point {side} it is ");
        let (_, point) = said.split_once(&named).unwrap_or_else(|| panic!("no nearest point {side}: {said}"));
        let point = point.split([';', '\n']).next().unwrap();
        assert!(point.ends_with(&format!(" at {}", lsn_text(near))), "{side} {}: {said}", lsn_text(at));
    }
    assert!(said.contains("the schema changed"), "{said}");
    before.into_iter().chain(behind).collect()
}
