//! The straight way: a schedule starts a run, and at its end everything stands.

use crate::cloud::Cloud;
use crate::source::{TestSource, rows};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SCHEMA: &str = "
    create table weddings (id bigint generated always as identity primary key, couple text not null, day date);
    create table guests (id bigserial primary key, wedding bigint references weddings, name text, notes jsonb);
    create index guests_wedding on guests (wedding);
    insert into weddings (couple, day) select 'couple ' || n, date '2027-05-01' + n from generate_series(1, 50) n;
    insert into guests (wedding, name, notes)
        select 1 + n % 50, E'guest\\t' || n, jsonb_build_object('table', n % 9) from generate_series(1, 5000) n;
    create materialized view per_wedding as select wedding, count(*) from guests group by 1;";

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_run_is_sealed_copied_proven_recorded_and_announced() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"part_size_bytes": 65536})).await;
    let arn = run_by_schedule(&cloud, &source.policy);

    let ended = cloud.wait(&arn);

    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert_eq!(cloud.status(&arn).await.0, "completed");
    let (subject, notice) = cloud.wait_for_notice(&arn);
    assert!(subject.contains("backup completed"), "{subject}");
    assert_eq!(notice["kind"], "backup_completed");
    assert_copy_and_proof(&cloud, &arn).await;
    cloud.assert_nothing_left(&arn, &source.policy).await;
    for repository in [cloud.text("repository"), cloud.text("copy_repository")] {
        let restored = source.restore_from(&cloud, &repository).await;
        for table in ["weddings", "guests", "per_wedding"] {
            assert_eq!(
                rows(&restored, table).await,
                rows(&source.client().await, table).await,
                "{repository}"
            );
        }
    }
}

/// Points the deployed schedule at another policy and at the next seconds, and waits for what it starts.
fn run_by_schedule(cloud: &Cloud, policy: &str) -> String {
    let machine = cloud.output("BackupStateMachineArn");
    let list = || -> BTreeSet<String> {
        let listed =
            cloud.aws(&["stepfunctions", "list-executions", "--state-machine-arn", &machine]).unwrap();
        let executions = listed["executions"].as_array().unwrap().iter();
        executions.map(|one| one["executionArn"].as_str().unwrap().to_owned()).collect()
    };
    let known = list();
    let name = cloud.output("ScheduleName");
    let schedule = cloud.aws(&["scheduler", "get-schedule", "--name", &name]).unwrap();
    assert!(schedule["ScheduleExpression"].as_str().unwrap().starts_with("cron("), "{schedule}");
    let mut target = schedule["Target"].clone();
    target["Input"] = json!({"policy": policy, "requested_by": "schedule"}).to_string().into();
    let at = jiff::Timestamp::now() + Duration::from_secs(2);
    let at = format!("at({})", at.strftime("%Y-%m-%dT%H:%M:%S"));
    let update = |expression: &str, target: &str| {
        let parameters =
            ["scheduler", "update-schedule", "--name", &name, "--schedule-expression", expression];
        let fixed = [
            "--schedule-expression-timezone",
            "UTC",
            "--flexible-time-window",
            "Mode=OFF",
            "--target",
            target,
        ];
        cloud.aws(&[parameters.as_slice(), fixed.as_slice()].concat()).unwrap();
    };
    update(&at, &target.to_string());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Some(arn) = list().difference(&known).next() {
            update("cron(0 2 * * ? *)", &schedule["Target"].to_string());
            return arn.clone();
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("the schedule started nothing");
}

async fn assert_copy_and_proof(cloud: &Cloud, arn: &str) {
    let catalog = cloud.catalog().await;
    let sql = "select c.status, c.region, s.verified_at is not null, t.verdict, t.certificate ->> 'differences_total' \
               from keepsake.backup_executions e \
               join keepsake.backup_snapshots s on s.id = e.backup_id \
               join keepsake.backup_copies c on c.snapshot_id = s.id \
               join keepsake.backup_tests t on t.snapshot_id = s.id and t.test_type = 'restore_test' \
               where e.execution_id = $1";
    let row = catalog.query_one(sql, &[&arn]).await.unwrap();
    let found: (String, String, bool, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let wanted = ("verified", "eu-west-1", true, "passed", "0");
    assert_eq!((found.0.as_str(), found.1.as_str(), found.2, found.3.as_str(), found.4.as_str()), wanted);
}
