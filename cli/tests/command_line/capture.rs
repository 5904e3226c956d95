//! Changes of a real server, captured by the real program.

mod damaged;

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::json::{example, same_fields};
use crate::program::{Ended, command};
use crate::protected::Protected;
use keepsake_archive::pgoutput::{Cell, Message};
use keepsake_archive::{ChangesLayout, KeyFile, SegmentDecoder, SegmentManifest, SegmentRecord, open};
use keepsake_testkit::cluster::until;
use serde_json::Value;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

type Captured = Protected;

impl Captured {
    fn of_guests() -> Self {
        Self::by_program(
            "CREATE TABLE guests (id int PRIMARY KEY, x text); INSERT INTO guests VALUES (0, 'before')",
        )
    }

    /// One transaction of one row.
    fn insert(&self, id: u32) {
        self.source.sql(&format!("INSERT INTO guests VALUES ({id}, repeat('guest {id} ', 500))"));
    }

    /// Manifests of segments, in the order of the chain.
    fn manifests(&self) -> Vec<PathBuf> {
        let find =
            Command::new("find").arg(self.bench.path("repo")).args(["-path", "*/changes/*.json"]).output();
        let text = String::from_utf8(find.unwrap().stdout).unwrap();
        let mut paths: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        paths.retain(|path| {
            let key = path.strip_prefix(self.bench.path("repo")).unwrap().to_str().unwrap();
            ChangesLayout::of_manifest_key(key).is_some() && !key.ends_with(".chain.json")
        });
        paths.sort();
        paths
    }

    /// Ids of all rows that were inserted, as the segments hold them, read with the recovery key alone.
    fn ids(&self) -> Vec<u32> {
        self.manifests().iter().flat_map(|path| self.ids_of(path)).collect()
    }

    fn ids_of(&self, path: &PathBuf) -> Vec<u32> {
        let repo = self.bench.path("repo");
        let key = |path: &PathBuf| path.strip_prefix(&repo).unwrap().to_str().unwrap().to_owned();
        let (segment, _) = SegmentManifest::parse(&key(path), &std::fs::read(path).unwrap()).unwrap();
        let keys = path.with_file_name(segment.run_id.to_string()).join("keys/000001.json");
        let file = KeyFile::parse(&key(&keys), &std::fs::read(&keys).unwrap()).unwrap();
        let recovery = std::fs::read_to_string(self.bench.key_file()).unwrap();
        let identity = file.unwrap_with_age(&recovery).unwrap();
        let stored = Cursor::new(std::fs::read(repo.join(&segment.object.key)).unwrap());
        let mut raw = Vec::new();
        open(stored, &identity, &segment.object).unwrap().read_to_end(&mut raw).unwrap();
        let (mut decoder, mut ids) = (SegmentDecoder::new(&segment.object.key), Vec::new());
        decoder.feed(&raw);
        while let Some(record) = decoder.next_record().unwrap() {
            let SegmentRecord::Message { payload, .. } = record else { continue };
            if let Message::Insert { new, .. } = Message::parse(&payload).unwrap() {
                let Cell::Text(id) = &new[0] else { panic!("an id is never null") };
                ids.push(std::str::from_utf8(id).unwrap().parse().unwrap());
            }
        }
        assert_eq!(decoder.finish().unwrap(), segment.holds);
        ids
    }
}

#[test]
fn changes_behind_a_full_backup_are_captured_once_also_when_a_capture_is_killed() {
    let captured = Captured::of_guests();
    captured.insert(1);
    captured.backup_with(&[]).ok();
    captured.insert(2);
    let first = captured.run("capture", &["--once", "--json"]).ok().json();
    assert_eq!((&first["transactions"], &first["changes"]), (&2.into(), &2.into()), "{first}");
    let again = captured.run("capture", &["--json"]).ok().json();
    assert_eq!((&again["transactions"], &again["segments"]), (&0.into(), &1.into()), "{again}");

    // Killed while it writes segments of a few rows each.
    let follow = ["--follow", "--segment-size", "65536", "--segment-seconds", "1"];
    let mut child = captured.command("capture", &follow).spawn().unwrap();
    let before = captured.manifests().len();
    let mut next = 3;
    until("it has written some segments", || {
        captured.insert(next);
        next += 1;
        captured.manifests().len() > before + 2
    });
    child.kill().unwrap();
    child.wait().unwrap();
    captured.insert(next);
    // The server may still take the dead one for alive.
    until("the next capture gets the slot", || captured.run("capture", &["--once"]).code == Some(0));

    assert_eq!(captured.ids(), (1..=next).collect::<Vec<_>>());
    let window = captured.window();
    assert_eq!(window["spans"].as_array().unwrap().len(), 1, "{window}");
    assert_eq!(window["spans"][0]["newest"], window["captured"]);
    assert_ne!(window["spans"][0]["newest"], window["spans"][0]["oldest"]);
    assert_eq!(window["gaps"], Value::Array(vec![]), "{window}");
    let (repo, key) = (captured.bench.repo(), captured.bench.key_file());
    let verified = captured.bench.verify(&repo, &["--deep", "--key-file", &key, "--json"]).ok().json();
    assert_eq!(verified["changes"][0]["transactions"], next, "{verified}");
    assert_eq!(captured.bench.list(&repo)["backups"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_defined_is_named_by_capture_and_window_and_no_manifest_holds_its_statement() {
    let captured = Captured::of_guests();
    captured.backup_with(&[]).ok();
    captured.run("capture", &["--once"]).ok();
    captured.source.sql("ALTER TABLE guests ADD COLUMN word text DEFAULT 'a secret word'");
    captured.source.sql("CREATE INDEX by_word ON guests (word)");
    let told = captured.run("capture", &["--once"]).ok();
    let change = "by ALTER TABLE (table public.guests) at ";
    let plain = ["and 1 more statements", "plain, so it ends no recovery window"];
    assert!([change, plain[0], plain[1]].iter().all(|one| told.stderr.contains(one)), "{}", told.stderr);
    captured.source.sql("COMMENT ON TABLE guests IS 'who comes'");
    captured.source.sql("ALTER TABLE guests DROP COLUMN word");
    let told = captured.run("capture", &["--once"]).ok();
    // Not the first, and one statement, though the server tells of the column and of the table.
    let change = "by ALTER TABLE (table column public.guests.word, table public.guests) at ";
    let why = ["not plain: it is none of the statements that a restore runs again", "and 1 more statements"];
    assert!([change, why[0], why[1]].iter().all(|one| told.stderr.contains(one)), "{}", told.stderr);
    // The whole segment is lost with it, not only what follows the change.
    let newest = captured.window()["spans"][0]["newest"]["lsn"].as_str().unwrap().to_owned();
    assert!(told.stderr.contains(&format!("no point behind {newest} (")), "{newest}: {}", told.stderr);
    let changes = captured.window()["schema_changes"].clone();
    assert_eq!(changes[0]["objects"][0], "table public.guests");
    assert_eq!((&changes[1]["command"], changes.as_array().unwrap().len()), (&"CREATE INDEX".into(), 4));
    let repo = captured.bench.repo();
    let shown = ended(&mut command(&["window", "--repo", &repo])).ok().stdout;
    assert!(shown.contains("schema changed by CREATE INDEX (index public.by_word) at "), "{shown}");
    // All of them are in the document; for people the newest are enough, and that there are more is said.
    let comments: Vec<String> = (0..21).map(|n| format!("COMMENT ON TABLE guests IS '{n}'")).collect();
    captured.source.sql(&comments.join("; "));
    captured.run("capture", &["--once"]).ok();
    assert_eq!(captured.window()["schema_changes"].as_array().unwrap().len(), 25);
    let shown = ended(&mut command(&["window", "--repo", &repo])).ok().stdout;
    assert!(shown.contains("schema changed by 5 more before these; --json names all"), "{shown}");
    assert_eq!(shown.matches("schema changed by COMMENT").count(), 20, "{shown}");
    // A table without a key is in full backups only, and in none yet.
    captured.source.sql("CREATE TABLE bare (id int)");
    captured.run("capture", &["--once"]).ok();
    assert_eq!(captured.window()["not_held"][0]["name"], "bare");
    let shown = ended(&mut command(&["window", "--repo", &repo])).ok().stdout;
    assert!(shown.contains("NOT CAPTURED public.bare: the newest full backup does not hold it"), "{shown}");
    captured.backup_with(&[]).ok();
    let shown = ended(&mut command(&["window", "--repo", &repo])).ok().stdout;
    assert!(shown.contains("NOT CAPTURED public.bare: it comes back as the full backup held it"), "{shown}");
    for manifest in captured.manifests() {
        assert!(!std::fs::read_to_string(&manifest).unwrap().contains("secret"), "{}", manifest.display());
    }
}

/// A migration during a capture that goes on for weeks.
#[test]
fn a_table_that_is_made_while_a_capture_follows_comes_back_and_one_without_a_key_is_named() {
    let captured = Captured::of_guests();
    let mut follow = captured.command("capture", &["--follow", "--segment-seconds", "1"]).spawn().unwrap();
    captured.source.sql("CREATE TABLE later (id int PRIMARY KEY); CREATE TABLE bare (id int)");
    let published = "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'later'";
    until("the table joins", || captured.source.sql(published).trim() == "1");
    // Whoever writes on this server just then, for other tests too, keeps a full from joining.
    until("a full joins behind that", || {
        captured.backup_with(&[]).ok();
        let segments = captured.manifests().len();
        until("a segment ends behind it", || captured.manifests().len() > segments);
        let span = captured.window()["spans"].as_array().unwrap().last().unwrap().clone();
        span["newest"] != span["oldest"]
    });
    captured.source.sql("INSERT INTO later VALUES (1), (2); INSERT INTO bare VALUES (3)");
    follow.kill().unwrap();
    follow.wait().unwrap();
    until("the next capture gets the slot", || captured.run("capture", &["--once"]).code == Some(0));

    let window = captured.window();
    assert_eq!(window["not_captured"][0]["table"]["name"], "bare", "{window}");
    let target = Database::empty(Server::Target);
    let repo = captured.bench.repo();
    let plan = captured.bench.restore(&repo, &target, &["--latest", "--plan"]).ok();
    assert!(
        plan.stdout.contains("NOT CAPTURED public.bare") && !plan.stdout.contains("public.later"),
        "{}",
        plan.stdout
    );
    captured.bench.restore(&repo, &target, &["--latest"]).ok();
    assert_eq!(target.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM later").trim(), "1,2");
    assert_eq!(target.sql("SELECT count(*) FROM bare").trim(), "0");
}

#[test]
fn a_slot_that_is_dropped_is_a_gap_that_is_told_and_a_damaged_segment_is_found() {
    let captured = Captured::of_guests();
    let shown = ended(&mut command(&["window", "--repo", &captured.bench.repo()])).ok().stdout;
    assert!(shown.contains("nothing can be restored: no full backup stands"), "{shown}");
    captured.backup_with(&[]).ok();
    captured.insert(1);
    captured.run("capture", &[]).ok();
    captured.source.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()");
    captured.insert(2);
    let told = captured.run("capture", &["--json"]);
    let told = told.failed(12, &["changes are lost"]);
    assert!(told.stderr.contains("next: keepsake backup"), "{}", told.stderr);
    assert!(told.json()["gap"].as_str().unwrap().contains("slot"));
    let gap = captured.window()["gaps"][0].clone();
    assert_eq!((&gap["reason"], gap.get("before")), (&"lost".into(), None), "{gap}");
    captured.backup_with(&[]).ok();
    captured.insert(3);
    captured.run("capture", &[]).ok();
    assert_eq!(captured.window()["spans"].as_array().unwrap().len(), 2, "{}", captured.window());

    let first = &captured.manifests()[0];
    let (segment, _) = {
        let key = first.strip_prefix(captured.bench.path("repo")).unwrap().to_str().unwrap();
        SegmentManifest::parse(key, &std::fs::read(first).unwrap()).unwrap()
    };
    let object = captured.bench.path("repo").join(&segment.object.key);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[250] ^= 1;
    // Objects are write-protected.
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, bytes).unwrap();
    let found = captured.bench.verify(&captured.bench.repo(), &["--deep"]);
    found.failed(14, &["the changes of 1 of 1 lineages are damaged"]);
}

#[test]
fn a_gap_that_a_capture_met_gives_its_exit_code_however_it_ends() {
    let captured = Captured::of_guests();
    captured.run("capture", &[]).ok();
    captured.source.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()");
    let before = captured.manifests().len();
    let mut follow = captured.command("capture", &["--follow", "--segment-seconds", "1"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it captures behind the gap", || captured.manifests().len() > before);
    let interrupted = Command::new("kill").args(["-INT", &follow.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let ended = Ended::of(follow.wait_with_output().unwrap(), &[]);
    let told = ended.failed(12, &["changes are lost", "; and then: interrupted"]);
    assert!(told.stderr.contains("next: keepsake backup"), "{}", told.stderr);
    assert!(
        told.stderr.contains("a new chain begins; run keepsake backup"),
        "it is told at once: {}",
        told.stderr
    );
}

/// It leaves its mount point, an empty folder.
#[test]
fn a_disk_that_is_not_mounted_is_not_taken_for_a_new_repository() {
    let captured = Captured::of_guests();
    let (disk, elsewhere) = (captured.bench.path("repo"), captured.bench.path("elsewhere"));
    std::fs::rename(&disk, &elsewhere).unwrap();
    std::fs::create_dir(&disk).unwrap();
    for command in ["capture", "protect", "backup"] {
        let refused = captured.run(command, &[]).failed(12, &["nothing of them is there"]);
        assert!(refused.stderr.contains("next: mount the disk"), "{}", refused.stderr);
        assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "{command} left something behind");
    }
    std::fs::remove_dir(&disk).unwrap();
    std::fs::rename(&elsewhere, &disk).unwrap();
    captured.backup_with(&[]).ok();
    captured.run("capture", &[]).ok();
}

#[test]
fn a_copy_restores_to_a_point_in_time_by_itself_and_tells_its_rpo() {
    let captured = Captured::of_guests();
    std::fs::create_dir(captured.bench.path("copy")).unwrap();
    let (repo, copy, key) =
        (captured.bench.repo(), captured.bench.repo_at("copy"), captured.bench.key_file());
    let answer = |arguments: &[&str]| {
        let mut command = command(&[arguments, &["--json"]].concat());
        ended(command.env("TMPDIR", captured.bench.path("tmp"))).ok().json()
    };
    let copied = || answer(&["replicate", "--repo", &repo, "--to", &copy]);
    captured.backup_with(&["--copy-to", &copy]).ok();
    captured.insert(1);
    captured.run("capture", &[]).ok();
    let first = copied();
    same_fields("replicate", &example("replicate"), &first);
    assert_eq!(first["lineages"][0]["manifests"], 2, "the chain and one segment: {first}");
    captured.insert(2);
    captured.run("capture", &[]).ok();
    let (rows, lsn) = (captured.source.rows(), captured.source.sql("SELECT pg_current_wal_insert_lsn()"));
    captured.source.sql("DELETE FROM guests");
    captured.run("capture", &[]).ok();
    assert_eq!(copied()["lineages"][0]["manifests"], 2);
    assert_eq!(copied()["lineages"][0]["manifests"], 0);
    // All that is left is the copy and the recovery key.
    std::fs::rename(captured.bench.path("repo"), captured.bench.path("gone")).unwrap();
    let target = Database::empty(Server::Target);
    captured.bench.restore(&copy, &target, &["--lsn", lsn.trim()]).ok();
    assert_eq!(target.rows(), rows);
    let verified = captured.bench.verify(&copy, &["--deep", "--key-file", &key, "--json"]).ok().json();
    assert_eq!(verified["verdict"], "passed", "{verified}");
    let probed = answer(&["rpo", "--repo", &copy, "--name", &captured.name, "--key-file", &key]);
    same_fields("rpo", &example("rpo"), &probed);
    let window = ended(&mut command(&["window", "--repo", &copy, "--json"])).ok().json();
    assert_eq!(probed["newest_at"], window["lineages"][0]["captured"]["at"], "{probed} {window}");
}
