//! Captures and restores to a point in time are killed at random moments, round after round: no change is lost, none comes
//! twice, the slot is never ahead of what stands, and the same restore begun again comes to the same rows.
//! `cargo x kill-sweep --rounds 200 --seed 7` asks for a long one.

use crate::database::{Database, Server};
use crate::differential::{SCHEMA, transaction};
use crate::killing::{End, Moment, Victim, files_now, left_alone, strike, unfinished};
use crate::protected::{Point, Protected, point_after, without_sequences};
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Rounds of every test run; each takes some seconds.
const ROUNDS: u64 = 8;

/// After each so manieth round everything is restored and compared row by row, and after the last one.
const RESTORED_EVERY: u64 = 4;

/// Transactions of a history: some segments of the smallest size.
const TRANSACTIONS: u32 = 30;

/// What another session writes at the same time: commits that interleave, and parts of transactions that never were.
const BESIDE: &str = "BEGIN; INSERT INTO pages (n) SELECT n FROM generate_series(1, 9) n; SAVEPOINT s; DELETE FROM pages;
    ROLLBACK TO s; UPDATE pages SET n = n + 1 WHERE id % 7 = 0; COMMIT; DELETE FROM pages WHERE id % 11 = 0; BEGIN; DELETE FROM pages; ROLLBACK; ";

/// Captures to the end and ends, in segments of the smallest size.
const ONCE: [&str; 3] = ["--once", "--segment-size", "65536"];

/// Never ends by itself.
const FOLLOW: [&str; 5] = ["--follow", "--segment-size", "65536", "--segment-seconds", "1"];

/// How the rounds ended.
#[derive(Debug, Default)]
struct Tally {
    killed_captures: u64,
    /// Killed between a segment's manifest and its confirmation.
    of_which_slot_behind: u64,
    gave_up_without_a_session: u64,
    captures_that_ended_well: u64,
    killed_restores: u64,
    restores_that_were_whole: u64,
    restores_compared: u64,
    longest_session: Duration,
}

struct Sweep {
    protected: Protected,
    random: StdRng,
    history: u64,
    capture_takes: Duration,
    restore_takes: Duration,
    files: usize,
    points: Vec<Point>,
    tally: Tally,
}

#[test]
fn wherever_capture_and_restore_are_killed_no_change_is_lost_or_doubled_and_the_next_run_converges() {
    let rounds = environment::number("KEEPSAKE_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = environment::seed("KEEPSAKE_KILL_SEED");
    eprintln!("kill sweep of changes: {rounds} rounds, KEEPSAKE_KILL_SEED={seed}");
    let mut sweep = Sweep::new(seed);
    for round in 0..rounds {
        let began = Instant::now();
        let was = match round % 4 {
            3 => sweep.kill_a_restore(round),
            2 => sweep.kill_a_capture(round, &ONCE, Victim::Session),
            1 => sweep.kill_a_capture(round, &ONCE, Victim::Process),
            _ => sweep.kill_a_capture(round, &FOLLOW, Victim::Process),
        };
        if round % RESTORED_EVERY == 2 || round + 1 == rounds {
            sweep.everything_comes_back();
        }
        eprintln!("round {round}: {was}, {:.1} s", began.elapsed().as_secs_f32());
    }
    sweep.every_segment_is_whole();
    eprintln!("kill sweep of changes, seed {seed}: {rounds} rounds, {:?}", sweep.tally);
    // The first round of each kind is killed as soon as its work shows, whatever the seed.
    if rounds >= ROUNDS {
        assert!(sweep.tally.killed_captures > 0, "no capture was killed: {:?}", sweep.tally);
        assert!(sweep.tally.killed_restores > 0, "no restore was killed: {:?}", sweep.tally);
    }
}

impl Sweep {
    /// A source whose full backup joins, and what undisturbed runs take.
    fn new(seed: u64) -> Self {
        let pages = "CREATE TABLE pages (id bigserial PRIMARY KEY, n integer)";
        let protected = Protected::with(&format!("{SCHEMA}; {pages}"));
        protected.backup();
        let mut sweep = Self {
            protected,
            random: StdRng::seed_from_u64(seed),
            history: seed,
            capture_takes: Duration::ZERO,
            restore_takes: Duration::ZERO,
            files: 0,
            points: Vec::new(),
            tally: Tally::default(),
        };
        let script = sweep.script();
        sweep.protected.source.sql(&script);
        let (began, files) = (Instant::now(), files_now(&sweep.protected.bench));
        sweep.protected.run("capture", &ONCE).ok();
        sweep.capture_takes = began.elapsed();
        sweep.files = files_now(&sweep.protected.bench) - files;
        sweep.note_a_point();
        let began = Instant::now();
        sweep.everything_comes_back();
        sweep.restore_takes = began.elapsed();
        sweep
    }

    /// The next part of the history; no two are equal.
    fn script(&mut self) -> String {
        let transactions: Vec<String> = (0..TRANSACTIONS).map(|_| transaction(&mut self.history)).collect();
        transactions.join("; ")
    }

    /// Something waits when the capture begins, and more comes while it runs.
    fn kill_a_capture(&mut self, round: u64, how: &[&str], victim: Victim) -> String {
        let (before, meanwhile, beside) = (self.script(), self.script(), BESIDE.repeat(20));
        let moment = match (round, self.random.random_range(0..3)) {
            (0, _) => Moment::Files(1),
            (1 | 4, _) | (_, 0) => Moment::Segments(self.random.random_range(1..=2)),
            (_, 1) => Moment::Files(self.random.random_range(1..=self.files)),
            _ => Moment::within(&mut self.random, self.capture_takes),
        };
        let (bench, source) = (&self.protected.bench, &self.protected.source);
        source.sql(&before);
        let end = std::thread::scope(|scope| {
            scope.spawn(|| source.sql(&meanwhile));
            scope.spawn(|| source.sql(&beside));
            let child = self.protected.command("capture", how).spawn().unwrap();
            strike(child, moment, victim, bench, source)
        });
        self.tally.longest_session = self.tally.longest_session.max(left_alone(source));
        self.tally.killed_captures += u64::from(end == End::Killed);
        self.tally.gave_up_without_a_session += u64::from(end == End::GaveUp);
        self.tally.captures_that_ended_well += u64::from(end == End::Well);
        let is_behind = self.the_slot_is_not_ahead(&format!("{how:?} {victim:?} {moment:?}"));
        self.tally.of_which_slot_behind += u64::from(is_behind);
        self.note_a_point();
        format!("capture {}, {victim:?} {moment:?}: {end:?}", how[0])
    }

    /// Rule 5. Answers whether it is behind: then what stands is sent again.
    fn the_slot_is_not_ahead(&self, at: &str) -> bool {
        let slot = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = current_database()";
        let confirmed = self.protected.source.sql(slot);
        let stands = self.protected.window()["captured"]["lsn"].as_str().unwrap().to_owned();
        let compare = format!("SELECT '{confirmed}'::pg_lsn - '{stands}'::pg_lsn");
        let ahead: i64 = self.protected.source.sql(&compare).parse().unwrap();
        assert!(ahead <= 0, "{at}: the slot is confirmed to {confirmed}, and changes stand to {stands}");
        ahead < 0
    }

    /// A transaction more, captured by a run that nobody disturbs: everything before it stands then in one span.
    fn note_a_point(&mut self) {
        let one_more = transaction(&mut self.history).replace("BEGIN; ", "").replace("; COMMIT", "");
        // Whatever that comes to, this transaction is among the changes.
        let point =
            point_after(&self.protected.source, &format!("{one_more}; INSERT INTO pages (n) VALUES (0)"));
        self.points.push(point);
        self.protected.run("capture", &ONCE).ok();
        assert_eq!(
            unfinished(&self.protected.bench),
            [""; 0],
            "what the dead had begun is swept by the next"
        );
        let window = self.protected.window();
        assert_eq!(window["gaps"], Value::Array(vec![]), "{window}");
        assert_eq!(window["spans"][0]["newest"], window["captured"], "{window}");
    }

    fn everything_comes_back(&mut self) {
        let target = Database::empty(Server::Target);
        let restored = self.protected.restore(&target, &["--latest", "--json"]).ok().json();
        assert_eq!(restored["certificate"]["verdict"], "passed");
        assert_eq!(target.rows(), self.protected.source.rows());
        self.tally.restores_compared += 1;
    }

    /// To a point somewhere in the history, or to its end.
    fn kill_a_restore(&mut self, round: u64) -> String {
        let target = Database::empty(Server::Target);
        let moment = match (round, self.random.random_range(0..4)) {
            (3, _) => Moment::FirstMark,
            (7, _) | (_, 0) => Moment::FirstChanges,
            _ => Moment::within(&mut self.random, self.restore_takes),
        };
        let newest = self.points.len() - 1;
        let chosen = self.random.random_range(0..=newest);
        let point = &self.points[chosen];
        let ways = [["--at", &point.time], ["--lsn", &point.lsn], ["--xid", &point.xid]];
        let way = ways.choose(&mut self.random).unwrap();
        let named: &[&str] = if chosen == newest { &["--latest"] } else { way };
        let named = &[named, &["--json"]].concat()[..];
        let (bench, repo) = (&self.protected.bench, self.protected.bench.repo());
        let child = bench.restore_command(&repo, &target, named).spawn().unwrap();
        let end = strike(child, moment, Victim::Process, bench, &target);
        left_alone(&target);
        let again = self.protected.restore(&target, named);
        if again.code == Some(0) {
            assert_eq!(end, End::Killed, "a whole restore was restored over");
            assert_eq!(again.json()["certificate"]["verdict"], "passed");
        } else {
            // It was whole, or it would be gone on with: the comparison below says so.
            again.failed(12, &["is not empty"]);
            self.tally.restores_that_were_whole += 1;
        }
        assert_eq!(without_sequences(&target.rows()), without_sequences(&point.rows), "{named:?} {moment:?}");
        self.tally.killed_restores += u64::from(end == End::Killed);
        self.tally.restores_compared += 1;
        format!("restore {named:?}, {moment:?}: {end:?}")
    }

    fn every_segment_is_whole(&self) {
        let bench = &self.protected.bench;
        let verified = bench.verify(&bench.repo(), &["--deep", "--key-file", &bench.key_file(), "--json"]);
        assert_eq!(verified.ok().json()["verdict"], "passed");
    }
}
