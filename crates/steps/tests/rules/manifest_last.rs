//! Rule 1: a backup exists only if its manifest stands, and it is written only after every object was checked.

use crate::{ALL_IS_WELL, dumped, manifests};
use keepsake_domain::{Classified, CutLimits, FailureClass, FencingToken, batches, cut};
use keepsake_steps::ports::Repository;
use keepsake_testkit::scenario::{Scenario, Setting};
use keepsake_testkit::{Break, Fault, Faults, MemoryRepository, MemoryTable, SourceFault};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn the_manifest_is_written_after_every_object_was_checked_where_it_lies() {
    let scenario = Scenario::new(Setting::default());
    dumped(&scenario, "run-1").await;
    let dumped = scenario.faults[0].count();
    let run = scenario.begin("run-1").await.unwrap();
    scenario.seal_once(&run).await.unwrap();
    let operations = scenario.faults[0].operations();
    let written =
        operations.iter().position(|act| act.starts_with("put_new") && act.ends_with("manifest.json"));
    let checked = &operations[dumped..written.unwrap()];
    let (manifest, ..) = scenario.catalog.runs()[0].sealed.clone().unwrap();
    for object in manifest.objects() {
        assert!(checked.contains(&format!("head {}", object.key)), "{} was not checked", object.key);
    }
}

type Damage = fn(&MemoryRepository, &str);

const DAMAGES: [(&str, Damage); 3] = [
    ("vanished", |repository, key| repository.lose(key)),
    ("shrank", |repository, key| repository.corrupt(key, |bytes| bytes.truncate(bytes.len() - 1))),
    ("changed", |repository, key| repository.corrupt(key, |bytes| bytes[0] ^= 1)),
];

#[tokio::test(start_paused = true)]
async fn an_object_that_vanished_shrank_or_changed_since_its_upload_stops_the_seal() {
    let scenario = Scenario::new(Setting::default());
    dumped(&scenario, "run-1").await;
    let objects = scenario.primary.list("").await.unwrap().len();
    assert!(objects > 8, "keys, readme, schema, globals, blobs and parts: {objects}");
    for (what, damage) in DAMAGES {
        for index in 0..objects {
            let scenario = Scenario::new(Setting::default());
            let run = dumped(&scenario, "run-1").await;
            let key = scenario.primary.list("").await.unwrap()[index].key.clone();
            damage(&scenario.primary, &key);
            let refused = scenario.seal_once(&run).await.expect_err(&format!("{key} {what}"));
            assert_eq!(refused.class(), FailureClass::Integrity, "{key} {what}: {refused}");
            assert_eq!(manifests(scenario.primary.as_ref()).await, Vec::<String>::new());
            assert!(!scenario.catalog.runs()[0].execution.is_sealed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_network_never_leaves_what_looks_like_a_backup_and_is_none() {
    let scenario = Scenario::new(Setting::default());
    scenario.run("run-1").await.unwrap();
    let operations = scenario.faults[0].operations();
    let written =
        operations.iter().position(|act| act.ends_with("manifest.json") && act.starts_with("put_new"));
    for (from, operation) in operations.iter().enumerate() {
        let scenario =
            Scenario::new(Setting { primary: Faults::new().refuse_from(from), ..Setting::default() });
        let ended = scenario.run("run-1").await;
        assert!(ended.is_err(), "without the repository from operation {from}: {}", operation);
        assert_eq!(scenario.check().await, ALL_IS_WELL, "from operation {from}: {}", operation);
        if from <= written.unwrap() {
            assert_eq!(manifests(scenario.primary.as_ref()).await.len(), 0, "from operation {from}");
        }
        assert_eq!(scenario.catalog.runs().iter().filter(|run| run.completed_at.is_some()).count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_leaves_nothing_that_looks_like_a_backup() {
    let at = |is_silent| Break { after_bytes: 30, is_silent };
    let rows = |is_silent| SourceFault::Rows { table: "guests".to_owned(), at: at(is_silent) };
    for fault in
        [rows(false), rows(true), SourceFault::SchemaDump(at(false)), SourceFault::SchemaDump(at(true))]
    {
        let scenario = Scenario::new(Setting::default());
        // More often than a step is tried, for every part of the table.
        (0..40).for_each(|_| scenario.source.fail_with(fault.clone()));
        scenario.run("run-1").await.expect_err("the source fails every time");
        assert_eq!(scenario.check().await, ALL_IS_WELL, "{fault:?}");
        for repository in [&scenario.primary, &scenario.copy] {
            assert_eq!(manifests(repository.as_ref()).await, Vec::<String>::new(), "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_of_another_token_is_not_taken_for_our_own() {
    let scenario = Scenario::new(Setting::default());
    let mut run = dumped(&scenario, "run-1").await;
    scenario.seal_once(&run).await.unwrap();
    run.fencing_token = FencingToken(run.fencing_token.0 + 1);
    let refused = scenario.seal_once(&run).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn two_seals_that_race_give_one_manifest_and_one_answer() {
    let scenario = Scenario::new(Setting::default());
    dumped(&scenario, "run-1").await;
    // The first seal is held up while it checks; the second overtakes it and writes a manifest of a later time.
    let late = scenario.faults[0].count() + 4;
    let faults = Faults::new().at(late, Fault::AnswerLate(Duration::from_secs(60)));
    let scenario = Scenario::new(Setting { primary: faults, ..Setting::default() });
    let run = dumped(&scenario, "run-1").await;
    let overtaking = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        scenario.seal_once(&run).await
    };
    let (slow, fast) = tokio::join!(scenario.seal_once(&run), overtaking);
    assert_eq!(slow.unwrap(), fast.unwrap());
    assert_eq!(manifests(scenario.primary.as_ref()).await.len(), 1);
    let puts = scenario.faults[0].operations();
    let puts = puts.iter().filter(|act| act.starts_with("put_new") && act.ends_with("manifest.json"));
    assert_eq!(puts.count(), 2, "both really tried");
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_died_between_batches_and_plan_goes_on_with_the_batches_that_stand() {
    let scenario = Scenario::new(Setting::default());
    let run = scenario.begin("run-1").await.unwrap();
    // The tables were smaller when the dump that died cut them, so it cut them in other places.
    let mut limits = CutLimits { part_bytes: run.part_size_bytes * 2, ..CutLimits::default() };
    let shapes: Vec<_> = scenario.source.database().tables.iter().map(MemoryTable::shape).collect();
    let standing = batches(cut(&shapes, limits), limits);
    limits.part_bytes = run.part_size_bytes;
    assert_ne!(standing, batches(cut(&shapes, limits), limits));
    let json = serde_json::to_vec(&standing).unwrap();
    scenario.work.put_new(&scenario.work_of(&run).batches_key(), json.into()).await.unwrap();

    scenario.dump_on_held_snapshot(&run).await.unwrap();
    let plan = scenario.work_of(&run).plan().await.unwrap().unwrap();
    assert_eq!(Some(standing), scenario.work_of(&run).batches().await.unwrap());
    assert_eq!(scenario.seal(&run).await.unwrap().rows, 35);
    assert_eq!(
        plan.parts.len(),
        cut(&shapes, CutLimits { part_bytes: run.part_size_bytes * 2, ..limits }).len()
    );
}
