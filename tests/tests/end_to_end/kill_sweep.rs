//! The functions of running backups are killed at random moments, round after round: a run ends whole or says that it
//! failed, leaves nothing behind, and the next one succeeds. `cargo x kill-sweep --functions --rounds 200 --seed 7` asks
//! for a long sweep.

use crate::cloud::{Cloud, Ended};
use crate::processes;
use crate::source::{TestSource, rows};
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Rounds of every test run: one in which a holder dies, one in which anything may; each takes some seconds.
const ROUNDS: u64 = 2;

/// Each so manieth run is copied and restored on a throwaway instance too.
const WHOLE_EVERY: u64 = 4;

/// Each so manieth backup is restored and compared row by row; the others are opened and their rows counted.
const RESTORED_EVERY: u64 = 4;

/// Several parts, and a second table.
const SCHEMA: &str = "create table photos (id int primary key, note text);
    insert into photos select n, md5(n::text) || md5((n + 1)::text) from generate_series(1, 60000) n;
    create table vendors (id int primary key, name text);
    insert into vendors select n, 'vendor ' || n from generate_series(1, 2000) n;";

/// How the rounds ended.
#[derive(Debug, Default)]
struct Tally {
    /// Kills by function, of idle processes too: that Lambda ends those is as usual.
    killed: BTreeMap<String, u64>,
    runs_that_ended_well: u64,
    of_which_repeated_a_step: u64,
    runs_that_said_they_failed: u64,
    of_which_with_manifest: u64,
    compared: u64,
}

struct Sweep {
    cloud: Cloud,
    /// Neither copied nor restored.
    plain: TestSource,
    whole: TestSource,
    random: StdRng,
    tally: Tally,
}

/// What one killed run is tried on.
struct Round {
    number: u64,
    takes: Duration,
    before: BTreeSet<String>,
}

fn is_whole(round: u64) -> bool {
    round % WHOLE_EVERY == WHOLE_EVERY - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_function_is_killed_the_run_ends_whole_or_says_so_and_the_next_one_succeeds() {
    let rounds = environment::number("KEEPSAKE_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = environment::seed("KEEPSAKE_KILL_SEED");
    println!("kill sweep over functions: {rounds} rounds, KEEPSAKE_KILL_SEED={seed}");
    let mut sweep = Sweep::new(seed).await;
    for round in 0..rounds {
        let began = Instant::now();
        let was = sweep.round(round).await;
        println!("round {round}: {was}, {:.1} s", began.elapsed().as_secs_f32());
    }
    println!("kill sweep over functions, seed {seed}: {rounds} rounds, {:?}", sweep.tally);
    assert!(sweep.tally.killed.values().sum::<u64>() > 0, "nothing was killed");
}

impl Sweep {
    async fn new(seed: u64) -> Self {
        let cloud = Cloud::take();
        let parts = json!({"part_size_bytes": 65536, "test_restore": false, "copies": []});
        let plain = TestSource::create(&cloud, SCHEMA, parts).await;
        let whole = TestSource::create(&cloud, SCHEMA, json!({"part_size_bytes": 65536})).await;
        Self { cloud, plain, whole, random: StdRng::seed_from_u64(seed), tally: Tally::default() }
    }

    fn source(&self, round: u64) -> &TestSource {
        if is_whole(round) { &self.whole } else { &self.plain }
    }

    fn backups(&self, source: &TestSource) -> BTreeSet<String> {
        source.backups(&self.cloud, &self.cloud.text("repository")).into_iter().collect()
    }

    async fn round(&mut self, number: u64) -> String {
        // No two backups hold the same rows, so that none can be taken for another.
        let insert = format!("insert into vendors values (100000 + {number}, 'round {number}')");
        self.source(number).client().await.batch_execute(&insert).await.unwrap();
        let takes = if is_whole(number) { 15_000 } else { 5_000 };
        let before = self.backups(self.source(number));
        let round = Round { number, takes: Duration::from_millis(takes), before };
        let arn = self.cloud.start(&self.source(number).policy).unwrap();
        let killed = self.strike(&round, &arn);
        let ended = self.cloud.wait(&arn);
        let said = self.judge(&round, &ended).await;
        if let Some(function) = &killed {
            *self.tally.killed.entry(function.clone()).or_default() += 1;
        }
        format!("{}, {said}", killed.as_deref().unwrap_or("nothing to kill"))
    }

    /// Kills all processes of a function at some moment of the run; the function's name.
    fn strike(&mut self, round: &Round, arn: &str) -> Option<String> {
        let victim = if round.number == 0 {
            self.cloud.wait_for_state(arn, "EncryptUploadBatches");
            "keepsake-hold-snapshot".to_owned()
        } else {
            let most = u64::try_from(round.takes.as_millis()).unwrap();
            std::thread::sleep(Duration::from_millis(self.random.random_range(0..most)));
            let names: BTreeSet<String> = processes::functions().into_iter().map(|(_, name)| name).collect();
            let names: Vec<String> = names.into_iter().collect();
            names.choose(&mut self.random)?.clone()
        };
        let there = processes::of(&victim);
        processes::kill(&there);
        (!there.is_empty()).then_some(victim)
    }

    /// Checks how a run ended that something was done to, and that the next one succeeds if this one did not.
    async fn judge(&mut self, round: &Round, ended: &Ended) -> String {
        let source = self.source(round.number);
        let stands: Vec<String> = self.backups(source).difference(&round.before).cloned().collect();
        let well = ended.status == "SUCCEEDED";
        assert!(well || ended.status == "FAILED", "{ended:?}");
        assert!(stands.len() <= 1 && (!well || stands.len() == 1), "{ended:?}: {stands:?}");
        assert_eq!(
            self.cloud.status(&ended.arn).await.0,
            if well { "completed" } else { "failed" },
            "{ended:?}"
        );
        if !well {
            let (subject, _) = self.cloud.wait_for_notice(&ended.arn);
            assert!(subject.contains("BACKUP FAILED"), "{subject}: {ended:?}");
        }
        self.cloud.assert_nothing_left(&ended.arn, &source.policy).await;
        left_alone(source).await;
        for backup in &stands {
            self.rows_verify(backup);
        }
        let repeated = self.cloud.repeated_a_step(&ended.arn);
        self.tally.runs_that_ended_well += u64::from(well);
        self.tally.of_which_repeated_a_step += u64::from(well && repeated);
        self.tally.runs_that_said_they_failed += u64::from(!well);
        self.tally.of_which_with_manifest += u64::from(!well && stands.len() == 1);
        if !well {
            let source = self.source(round.number);
            let next = self.cloud.wait(&self.cloud.start(&source.policy).unwrap());
            assert_eq!(next.status, "SUCCEEDED", "the run after {ended:?}: {next:?}");
        }
        if !well || round.number.is_multiple_of(RESTORED_EVERY) {
            self.compare(round.number).await;
        }
        format!("{} {}", ended.status, ended.error)
    }

    async fn compare(&mut self, number: u64) {
        let source = self.source(number);
        let restored = source.restore_from(&self.cloud, &self.cloud.text("repository")).await;
        for table in ["photos", "vendors"] {
            assert_eq!(rows(&restored, table).await, rows(&source.client().await, table).await, "{table}");
        }
        self.tally.compared += 1;
    }

    fn rows_verify(&self, backup: &str) {
        let (repository, key) = (self.cloud.text("repository"), self.cloud.text("recovery_key"));
        let verified =
            self.cloud.keepsake(&["verify", "--repo", &repository, backup, "--deep", "--key-file", &key]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

/// A server notices a dead client when it next writes to it or reads from it; a holder that waits is found by keepalive.
async fn left_alone(source: &TestSource) {
    let client = source.client().await;
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() \
                    and application_name like 'keepsake %'";
    let began = Instant::now();
    while client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "sessions of ours stay on {}", source.name);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
