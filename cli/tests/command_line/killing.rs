//! Ways to end a run of the program in its middle, at a moment that is not its own choice.

use crate::bench::Bench;
use crate::database::Database;
use keepsake_testkit::cluster::until;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// A run that was not killed by then has ended by itself, or never will: it takes seconds, and a machine under load a hundred times
/// that at worst.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// So long after its start.
    After(Duration),
    /// As soon as the repository holds so many more files, finished or not.
    Files(usize),
    /// As soon as so many more segments lie there, the last of them most likely without its manifest.
    Segments(usize),
    /// As soon as the target is not as empty as it was: of all that a restore does, only its plan is behind it.
    FirstMark,
    /// As soon as a restore to a point in time begins to apply changes.
    FirstChanges,
}

impl Moment {
    /// Anywhere within a run that takes so long.
    pub fn within(random: &mut StdRng, takes: Duration) -> Self {
        let milliseconds = u64::try_from(takes.as_millis()).unwrap();
        Self::After(Duration::from_millis(random.random_range(0..=milliseconds)))
    }
}

/// What dies then.
#[derive(Debug, Clone, Copy)]
pub enum Victim {
    Process,
    /// One of its sessions on the server: a reader, `pg_dump`, the holder of the snapshot, or a stream of changes.
    Session,
}

/// How a run ended that something was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    GaveUp,
    Well,
}

/// Ends one of the program's sessions in the database, whichever; those of the tests are psql's.
const ONE_SESSION: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name <> 'psql' ORDER BY random() LIMIT 1";

/// A restore marks in the target what it has done, from its beginning on.
const HAS_A_MARK: &str = "SELECT to_regnamespace('keepsake_restore') IS NOT NULL";

const HAS_BEGUN_CHANGES: &str = "SELECT to_regclass('keepsake_restore.changes') IS NOT NULL";

/// Waits for the moment, kills, and waits for the end. The database is the one that the run reads or writes.
pub fn strike(mut child: Child, moment: Moment, victim: Victim, bench: &Bench, database: &Database) -> End {
    let (began, files, segments) = (Instant::now(), files_now(bench), segments_now(bench));
    let has_come = || match moment {
        Moment::After(span) => began.elapsed() >= span,
        Moment::Files(more) => files_now(bench) >= files + more,
        Moment::Segments(more) => segments_now(bench) >= segments + more,
        Moment::FirstMark => database.sql(HAS_A_MARK) == "t",
        Moment::FirstChanges => database.sql(HAS_BEGUN_CHANGES) == "t",
    };
    while !has_come() && child.try_wait().unwrap().is_none() && began.elapsed() < LONGEST_RUN {
        std::thread::sleep(Duration::from_millis(1));
    }
    let was_alive = child.try_wait().unwrap().is_none();
    match victim {
        Victim::Process => child.kill().unwrap(),
        Victim::Session => drop(database.sql(ONE_SESSION)),
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), victim) {
        (Some(0), _) => End::Well,
        (None, Victim::Process) if was_alive => End::Killed,
        (Some(_), Victim::Session) if was_alive && said.contains("error: ") => End::GaveUp,
        _ => panic!("it failed by itself: {said}"),
    }
}

/// How long the database was not left alone; a server notices a dead client when it next writes to it or reads from it.
pub fn left_alone(database: &Database) -> Duration {
    let began = Instant::now();
    until("the database is left alone", || database.sessions() == 0);
    began.elapsed()
}

/// Files of the repository, finished or not.
pub fn files_now(bench: &Bench) -> usize {
    files_below(&bench.path("repo")).len()
}

fn segments_now(bench: &Bench) -> usize {
    let stands = |file: &&String| file.ends_with(".seg.zst.age") && !file.contains("/.unfinished/");
    files_below(&bench.path("repo")).iter().filter(stands).count()
}

/// What dead runs left in the repository.
pub fn unfinished(bench: &Bench) -> Vec<String> {
    let mut files = files_below(&bench.path("repo").join(".unfinished"));
    files.retain(|file| !file.ends_with("/.lock"));
    files
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // Folders come and go while a run lives.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}
