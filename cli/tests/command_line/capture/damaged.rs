//! What damage of captured changes takes away, and what it does not.

use super::*;

impl Captured {
    /// Inserts a row and captures it; the source's rows and position then.
    fn captured_row(&self, id: u32) -> (Vec<String>, String) {
        self.insert(id);
        let lsn = self.source.sql("SELECT pg_current_wal_insert_lsn()").trim().to_owned();
        self.run("capture", &[]).ok();
        (self.source.rows(), lsn)
    }

    /// The rows that a restore brings.
    fn restored(&self, more: &[&str]) -> (Vec<String>, String) {
        let target = Database::empty(Server::Target);
        let shown = self.restore(&target, more).ok().stdout;
        (target.rows(), shown)
    }
}

/// Objects are write-protected.
fn flip_a_byte(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_manifest_is_a_hole_and_every_point_beside_it_is_restored() {
    let captured = Captured::of_guests();
    captured.backup_with(&[]).ok();
    let (before, before_lsn) = captured.captured_row(1);
    let (_, within_lsn) = captured.captured_row(2);
    captured.captured_row(3);
    captured.backup_with(&[]).ok();
    let (behind, behind_lsn) = captured.captured_row(4);
    let damaged = captured.manifests()[1].clone();
    flip_a_byte(&damaged);
    let name = damaged.file_name().unwrap().to_str().unwrap();

    let (rows, shown) = captured.restored(&["--lsn", &before_lsn]);
    assert_eq!(rows, before);
    assert!(shown.contains("UNREADABLE manifest") && shown.contains(name), "{shown}");
    assert!(shown.contains("at least "), "what the hole holds is not counted: {shown}");
    assert_eq!(captured.restored(&["--latest"]).0, behind);
    let target = Database::empty(Server::Target);
    let refused = captured.restore(&target, &["--lsn", &within_lsn, "--plan"]);
    let refused =
        refused.failed(12, &["cannot be restored", "manifest digest", "the nearest point behind it"]);
    assert!(refused.stderr.contains("put the manifest back"), "{}", refused.stderr);
    let repo = captured.bench.repo();
    let window = ended(&mut command(&["window", "--repo", &repo, "--json"])).failed(13, &[name]).json();
    let lineage = &window["lineages"][0];
    assert_eq!(lineage["spans"].as_array().unwrap().len(), 2, "{window}");
    assert_eq!(lineage["gaps"][0]["reason"], "unreadable", "{window}");
    let verified = captured.bench.verify(&repo, &["--json"]).failed(14, &["1 of 1 lineages"]).json();
    assert_eq!(verified["changes"][0]["damages"].as_array().unwrap().len(), 1, "told once: {verified}");

    // The newest one: the plan says that it does not know how far it leads, and capture how to go on.
    flip_a_byte(captured.manifests().last().unwrap());
    let plan = captured.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("NOT FURTHER manifest") && plan.contains("--begin-anew"), "{plan}");
    captured.restore(&target, &["--lsn", &behind_lsn, "--plan"]).failed(12, &["cannot be restored"]);
    captured.run("capture", &[]).failed(13, &["manifest"]);
    captured.run("protect", &["--begin-anew", "the newest manifest is damaged"]).ok();
    captured.backup_with(&[]).ok();
    assert_eq!(captured.restored(&["--latest"]).0, behind);
}

#[test]
fn a_manifest_of_changes_that_is_missing_is_told_as_that_and_window_fails() {
    let captured = Captured::of_guests();
    captured.backup_with(&[]).ok();
    for id in 1..=3 {
        captured.captured_row(id);
    }
    let (repo, aside) = (captured.bench.repo(), captured.bench.path("aside"));
    let window = || ended(&mut command(&["window", "--repo", &repo, "--json"]));
    let manifests = captured.manifests();
    let chain = manifests[0].with_extension("chain.json");
    for (missing, reason) in [(&manifests[1], "segment_missing"), (&chain, "chain_missing")] {
        std::fs::rename(missing, &aside).unwrap();
        let name = missing.file_name().unwrap().to_str().unwrap();
        let told = window().failed(13, &["1 manifests of changes are missing", name]);
        assert!(told.stderr.contains("restore from a copy"), "{}", told.stderr);
        let lineage = told.json()["lineages"][0].clone();
        assert_eq!(lineage["gaps"][0]["reason"], reason, "{lineage}");
        assert_eq!(lineage["damages"].as_array().unwrap().len(), 1, "{lineage}");
        std::fs::rename(&aside, missing).unwrap();
    }
    assert_eq!(window().ok().json()["lineages"][0]["damages"], serde_json::json!([]));
    // The newest one names itself to nobody: a run may have died before it wrote that.
    std::fs::rename(&manifests[2], &aside).unwrap();
    let behind = window().ok().json()["lineages"][0]["without_manifest"].clone();
    assert_eq!(behind["segments"], 1, "{behind}");
    let shown = ended(&mut command(&["window", "--repo", &repo])).ok().stdout;
    assert!(shown.contains("the bytes of 1 segments stand behind the last manifest"), "{shown}");
    captured.run("capture", &[]).failed(12, &["changes are lost"]);
}

#[test]
fn a_full_backup_that_cannot_be_read_is_told_and_never_passed_over_for_an_older_state_unasked() {
    let captured = Captured::of_guests();
    let id = |backup: &Ended| backup.json()["backup_id"].as_str().unwrap().to_owned();
    let old = id(&captured.backup_with(&["--json"]).ok());
    let (before, _) = captured.captured_row(1);
    captured.insert(2);
    let new = captured.backup_with(&["--json"]).ok();
    flip_a_byte(&captured.bench.path("repo").join(new.json()["manifest_key"].as_str().unwrap()));
    let target = Database::empty(Server::Target);
    let refused = captured.restore(&target, &["--latest"]);
    let refused = refused.failed(13, &["a newer full backup cannot be read", &id(&new)]);
    assert!(refused.stdout.contains("PASSED OVER manifest"), "{}", refused.stdout);
    assert!(refused.stderr.contains(&format!("add --backup {old}")), "{}", refused.stderr);
    assert!(target.rows().iter().all(|line| line.trim().is_empty()), "something was restored");
    // Whoever asks for the older state gets it.
    assert_eq!(captured.restored(&["--latest", "--backup", &old]).0, before);
    // A point that the older one reaches is that point.
    let (behind, lsn) = captured.captured_row(3);
    let (rows, shown) = captured.restored(&["--lsn", &lsn]);
    assert_eq!(rows, behind);
    assert!(
        shown.contains("PASSED OVER") && shown.contains("more changes lead to the same point"),
        "{shown}"
    );
}

#[test]
fn a_damaged_segment_is_refused_with_the_newest_point_before_it_which_is_restored() {
    let captured = Captured::of_guests();
    captured.backup_with(&[]).ok();
    let (before, _) = captured.captured_row(1);
    captured.captured_row(2);
    let last = captured.manifests()[1].clone();
    let key = last.strip_prefix(captured.bench.path("repo")).unwrap().to_str().unwrap();
    let (segment, _) = SegmentManifest::parse(key, &std::fs::read(&last).unwrap()).unwrap();
    flip_a_byte(&captured.bench.path("repo").join(&segment.object.key));
    let refused = captured.restore(&Database::empty(Server::Target), &["--latest"]);
    let refused = refused.failed(13, &["cannot be restored", "SHA-256"]);
    let (_, named) = refused.stderr.rsplit_once("restore with --lsn ").unwrap();
    let lsn = named.split(';').next().unwrap();
    assert_eq!(captured.restored(&["--lsn", lsn]).0, before);
    // There is none behind the full backup where the first one is damaged.
    let first = captured.manifests()[0].clone();
    let key = first.strip_prefix(captured.bench.path("repo")).unwrap().to_str().unwrap();
    let (segment, _) = SegmentManifest::parse(key, &std::fs::read(&first).unwrap()).unwrap();
    flip_a_byte(&captured.bench.path("repo").join(&segment.object.key));
    let refused = captured.restore(&Database::empty(Server::Target), &["--latest"]);
    assert!(refused.failed(13, &[]).stderr.contains("restores the full backup alone"));
}

#[test]
fn a_backup_that_does_not_join_the_captured_changes_says_so_and_what_to_run() {
    let captured = Captured::of_guests();
    let joins = |backup: &Ended| backup.json()["joins_changes"].clone();
    let good = captured.backup_with(&["--json"]).ok();
    assert_eq!((joins(&good), &good.json()["warnings"]), (true.into(), &serde_json::json!([])));
    captured.source.sql("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)");
    let told = captured.backup_with(&["--json"]).ok();
    assert_eq!(joins(&told), false, "no segment noted the new table");
    assert!(told.stderr.contains("run keepsake capture, then keepsake backup again"), "{}", told.stderr);
    captured.run("capture", &[]).ok();
    assert_eq!(joins(&captured.backup_with(&["--json"]).ok()), true);
    // Nobody captures this one.
    let alone = captured.bench.backup(&captured.source.url(), &["--json"]).ok();
    assert_eq!(joins(&alone), Value::Null);
}
