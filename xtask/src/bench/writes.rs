//! What the benchmarks of change capture share: a database that is protected, the writes that are captured, and a slot
//! that streams the same changes to every contender.

use super::contender::prepare;
use super::{Bench, Target};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Changes of one transaction.
const TRANSACTION: u64 = 1_000;

/// A server notices within milliseconds that the reader of a slot is gone; a busy one gets a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// A protected database of its own, and its folder in the bench's: `<name>` holds the repository as it was when protected.
pub struct Protected<'a> {
    bench: &'a Bench,
    /// Of the database, of the source in the repository, and with `_` for `-` behind `keepsake_` of slot and publication.
    pub name: &'static str,
    rows: u64,
}

impl<'a> Protected<'a> {
    /// Makes the database with so many rows, and protects it.
    pub fn new(bench: &'a Bench, name: &'static str, rows: u64) -> Result<Self> {
        make(bench, name, rows)?;
        Self::of(bench, name, rows)
    }

    /// Protects a database that was made with so many rows.
    pub fn of(bench: &'a Bench, name: &'static str, rows: u64) -> Result<Self> {
        let protected = Self { bench, name, rows };
        let script = format!("{} $KEEPSAKE protect {}", protected.source(), protected.place("$OUT"));
        prepare(bench, &script, name)?;
        protected.copy_slot(&protected.slot(), &protected.kept())?;
        Ok(protected)
    }

    /// The server's name of our slot and publication.
    pub fn slot(&self) -> String {
        format!("keepsake_{}", self.name.replace('-', "_"))
    }

    /// A slot that nobody reads, from where all others are copied: it keeps what is behind the chain's beginning.
    fn kept(&self) -> String {
        format!("kept_{}", self.name.replace('-', "_"))
    }

    /// For scripts: `$SOURCE` is this database.
    pub fn source(&self) -> String {
        format!("export SOURCE='{}';", self.bench.url(self.name))
    }

    /// Arguments of protect, capture and backup.
    pub fn place(&self, folder: &str) -> String {
        format!("--source env:SOURCE --repo file://{folder} --name {} --recipient $RECIPIENT", self.name)
    }

    /// Captures what is behind the chain's beginning into `$OUT`; the answer is not measured as stored.
    pub fn capture(&self) -> String {
        let (name, source) = (self.name, self.source());
        format!("{source} cp -r $PWD/{name}/. $OUT; $KEEPSAKE capture --once {}", self.place("$OUT"))
    }

    /// Lets a slot stand where the chain begins, made anew.
    pub fn rewind(&self, slot: &str) -> Result<()> {
        self.drop_slots(&format!("slot_name = '{slot}'"))?;
        self.copy_slot(&self.kept(), slot)
    }

    /// Ends everything that keeps WAL for this database.
    pub fn end(&self) -> Result<()> {
        self.drop_slots("true")
    }

    fn drop_slots(&self, which: &str) -> Result<()> {
        let slots = format!("FROM pg_replication_slots WHERE database = current_database() AND {which}");
        let begun = Instant::now();
        while self.ask(&format!("SELECT count(*) {slots} AND active"))? != "0" {
            if begun.elapsed() > PATIENCE {
                bail!("a slot of {} is still read", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.ask(&format!("SELECT pg_drop_replication_slot(slot_name) {slots}")).map(drop)
    }

    fn copy_slot(&self, from: &str, to: &str) -> Result<()> {
        self.ask(&format!("SELECT pg_copy_logical_replication_slot('{from}', '{to}')")).map(drop)
    }

    /// Makes so many changes, and ends with a row in `done`: three in five are updates of random rows among the first
    /// `hot`, one an insert, one a delete of a row that was inserted some transactions before.
    pub fn write(&self, changes: u64, hot: u64) -> Result<()> {
        self.ask(&writes(self.rows, hot, changes.div_ceil(TRANSACTION)))?;
        self.ask("INSERT INTO done VALUES (1)").map(drop)
    }

    /// An answer of this database.
    pub fn ask(&self, query: &str) -> Result<String> {
        self.bench.ask(self.name, query)
    }

    /// The same with a statement that no other user of the machine may read.
    pub fn tell(&self, database: &str, statement: &str) -> Result<()> {
        let target = Target { url: self.bench.url(database), password: self.bench.password.clone() };
        target.run(|to| to.write_all(statement.as_bytes()))
    }

    /// How libpq of another server connects to this database.
    pub fn conninfo(&self) -> String {
        let password = self.bench.password.as_deref().unwrap_or_default();
        format!("{}&password={password}", self.bench.url(self.name))
    }
}

/// Makes the database with so many rows.
pub fn make(bench: &Bench, name: &str, rows: u64) -> Result<()> {
    bench.ask(&bench.database, &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))?;
    bench.ask(name, &schema(rows)).map(drop)
}

/// About 180 bytes of `COPY` text a row.
fn schema(rows: u64) -> String {
    format!(
        "CREATE TABLE done (id integer PRIMARY KEY);
         CREATE TABLE guests (id bigint PRIMARY KEY, wedding bigint NOT NULL, name text NOT NULL, answers jsonb NOT NULL,
             changed timestamptz NOT NULL);
         INSERT INTO guests SELECT {GUEST} FROM generate_series(1, {rows}) n;
         ANALYZE guests"
    )
}

const GUEST: &str =
    "n, n % 1000, 'guest ' || md5(n::text), jsonb_build_object('diet', md5((n * 7)::text), 'song',
    md5((n * 11)::text), 'seat', n % 200), '2026-11-21 12:00:00+00'";

fn writes(rows: u64, hot: u64, transactions: u64) -> String {
    let (updates, inserts) = (TRANSACTION * 3 / 5, TRANSACTION / 5);
    format!(
        "DO $do$ BEGIN
            PERFORM setseed(0.5);
            FOR t IN 0 .. {transactions} - 1 LOOP
                UPDATE guests SET answers = answers || jsonb_build_object('seat', t), changed = clock_timestamp()
                    WHERE id IN (SELECT 1 + (random() * ({hot} - 1))::bigint FROM generate_series(1, {updates}));
                INSERT INTO guests SELECT {GUEST} FROM generate_series({rows} + t::bigint * {inserts} + 1,
                    {rows} + (t::bigint + 1) * {inserts}) n;
                DELETE FROM guests WHERE id > {rows} + (t::bigint - 5) * {inserts}
                    AND id <= {rows} + (t::bigint - 4) * {inserts} AND id > {rows};
                COMMIT;
            END LOOP;
        END $do$"
    )
}
