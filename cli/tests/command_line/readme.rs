//! The steps of README.md, as they stand there, on a real server.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::program::{Ended, PROGRAM};
use crate::protected::{point_after, without_sequences};
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../../README.md");

/// What the section that needs no AWS has one type, a command a line, but for the build.
fn steps() -> impl Iterator<Item = &'static str> {
    let section = README.split_once("\n## Use it without AWS\n").unwrap().1.split_once("\n## ").unwrap().0;
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    blocks.flat_map(str::lines).filter(|line| !line.starts_with("cargo install"))
}

#[test]
fn the_readmes_steps_restore_a_full_backup_and_from_the_copy_the_moment_before_a_mistake() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql("CREATE TABLE guests (id int PRIMARY KEY, name text); INSERT INTO guests VALUES (1, 'early')");
    let first = source.rows();
    let folder = bench.path("work");
    std::fs::create_dir(&folder).unwrap();
    let path =
        format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let run = |line: &str, target: &str| {
        let mut command = Command::new("sh");
        command.args(["-euc", line]).current_dir(&folder).env("PATH", &path).env("TMPDIR", bench.path("tmp"));
        Ended::of(command.env("SOURCE", source.url()).env("TARGET", target).output().unwrap(), &[]).ok()
    };
    let (mut recipient, mut moment, mut targets) = (String::new(), None, Vec::new());
    for line in steps() {
        match line.split(' ').take(2).collect::<Vec<_>>().as_slice() {
            ["export", name] if name.starts_with("SOURCE=") => continue,
            ["export", _] => {
                targets.push(Database::empty(Server::Target));
                continue;
            }
            ["keepsake", "backup"] => source.wait_for_older_writers(),
            ["keepsake", "capture"] => {
                moment = Some(point_after(&source, "INSERT INTO guests VALUES (2, 'late')"));
                source.sql("DELETE FROM guests");
            }
            _ => {}
        }
        let time = moment.as_ref().map_or("", |moment| moment.time.as_str());
        let line = ["backups", "copy"].iter().fold(line.to_owned(), |line, name| {
            let place = format!("{}/{name}", folder.display());
            line.replace(&format!("///{name}"), &format!("//{place}"))
                .replace(&format!("-p /{name}"), &format!("-p {place}"))
        });
        let line = line
            .replace("wedsync", &source.name)
            .replace("age1…", &recipient)
            .replace("2026-11-20 14:30:00+01", time);
        let ended = run(&line, &targets.last().map(Database::url).unwrap_or_default());
        if line.starts_with("keepsake keygen") {
            recipient = ended.stdout.trim().to_owned();
        }
    }
    let [full, moment_before] = targets.as_slice() else { panic!("two restores") };
    assert_eq!(full.rows(), first);
    assert_eq!(without_sequences(&moment_before.rows()), without_sequences(&moment.unwrap().rows));
}
