//! The script in the archive's README restores it, without any code of ours.

use crate::bench::Bench;
use crate::database::{Database, Server};
use std::process::Command;

#[test]
fn the_readmes_script_restores_the_archive_with_standard_programs_alone() {
    for program in ["age", "jq", "zstd", "pg_restore", "psql", "bash"] {
        let found = Command::new(program).arg("--version").output();
        assert!(
            found.is_ok(),
            "{program} is not installed: restoring by hand needs it (apt-get install {program})"
        );
    }
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    bench.good_backup(&source);
    let archive = bench.archive(&bench.repo());
    let readme = std::fs::read_to_string(archive.join("README.txt")).unwrap();
    let script = readme.split_once("#--- begin restore.sh\n").unwrap().1;
    let script = script.split_once("#--- end restore.sh\n").unwrap().0;

    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(bench.path(""))
        .env("ARCHIVE", &archive)
        .env("RECOVERY_KEY", bench.key_file())
        .env("TARGET", target.url())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("restored\n"));
    assert_eq!(target.content(), source.content());
}
