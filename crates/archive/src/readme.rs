//! The README that lies in every archive: how to restore without any code of ours.

use crate::{ArchiveLayout, KEY_FORMAT_VERSION, manifest::FORMAT_VERSION};
use keepsake_domain::{Coverage, Uncovered};

const BEGIN: &str = "#--- begin restore.sh\n";
const END: &str = "#--- end restore.sh\n";
const SCRIPT: &str = include_str!("restore.sh");

/// The README object of one backup, plain UTF-8 text.
///
/// The lines between `#--- begin restore.sh` and `#--- end restore.sh` are one bash script; see
/// [`restore_script`]. It is the same text for the same arguments, so writing it twice is harmless.
#[must_use]
pub fn readme(layout: &ArchiveLayout, database: &str, coverage: &Coverage) -> String {
    let script = SCRIPT.replace("@ROOT@", &layout.root());
    format!(
        "{}\n{BEGIN}{script}{END}\n{}\n{}",
        introduction(layout, &database.escape_debug().to_string()),
        with_kms(),
        left_out(coverage)
    )
}

/// The script within a README, without its marker lines; `None` when the text has none.
#[must_use]
pub fn restore_script(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once(BEGIN)?;
    rest.split_once(END).map(|(script, _)| script)
}

fn introduction(layout: &ArchiveLayout, database: &str) -> String {
    format!(
        "\
BACKUP {backup} OF DATABASE \"{database}\", SOURCE {source}

Written by Keepsake {version}, format {FORMAT_VERSION}, key format {KEY_FORMAT_VERSION}. With Keepsake at hand:

  keepsake restore --repo URL --backup {backup} --to URL

Without it, these programs are enough: bash, coreutils, jq, age, zstd, and psql and
pg_restore of a major version at least as new as \"pg_dump\" under \"tools\" in manifest.json.

What lies here
  manifest.json          what the backup consists of; written last: without it there is no backup
  keys/NNNNNN.json       the backup's private key, wrapped for each holder; the highest number counts
  schema.*.dump.zst.age  pg_dump custom archive: pre-data and post-data
  globals.*.json.zst.age roles and settings, without passwords
  data/*.copy.zst.age    rows, as COPY text in UTF-8
  blobs/*.dump.zst.age   large objects, as a pg_dump custom archive
Everything that ends in .age is a standard age file; `age -d -i backup.key FILE | zstd -d` shows what is in it.

How to restore by hand
1. Fetch the whole folder, for example:
     aws s3 cp --recursive s3://BUCKET/PREFIX/{root} archive
2. Create an empty database, and check that the extensions under \"server\" in manifest.json can be installed there.
3. Set these, and run the script below with bash:
     export ARCHIVE=archive                  # the folder that holds manifest.json
     export RECOVERY_KEY=recovery.key        # an offline recovery key, as age-keygen or keepsake wrote it
     export TARGET=postgresql://USER@HOST/DATABASE
   On a server where you are not superuser, also: export PG_RESTORE_FLAGS='--no-owner --no-privileges'
   Behind a pooler that refuses options, also: export PGOPTIONS=
4. It ends with the line \"restored\". If it stops before, drop the target, and start again with an empty one.
",
        backup = layout.backup_id,
        source = layout.source,
        version = env!("CARGO_PKG_VERSION"),
        root = layout.root(),
    )
}

fn with_kms() -> &'static str {
    "\
With AWS KMS instead of a recovery key: do this first, then run the script without RECOVERY_KEY.

  newest=$(printf '%s\\n' \"$ARCHIVE\"/keys/*.json | tail -n 1)
  holder=$(jq --compact-output '[.holders[] | select(.holder == \"kms\")][0]' \"$newest\")
  jq --raw-output .ciphertext <<< \"$holder\" | base64 --decode > wrapped.key
  aws kms decrypt --key-id \"$(jq --raw-output .key_id <<< \"$holder\")\" --ciphertext-blob fileb://wrapped.key \\
    --encryption-context \"$(jq --compact-output .context <<< \"$holder\")\" \\
    --output text --query Plaintext | base64 --decode > backup.key
  export BACKUP_KEY=$PWD/backup.key          # remove it afterwards

The second region's replica of a multi-Region key does the same: add --region, and give its own key id.
"
}

/// Behind the script, and with names on one line, so that no name can be taken for a marker.
fn left_out(coverage: &Coverage) -> String {
    let line = |one: &Uncovered| format!("  {}: {} ({})\n", one.what.escape_debug(), one.why, one.advice);
    let list = |title: &str, all: &[Uncovered]| match all {
        [] => String::new(),
        all => format!("{title}\n{}", all.iter().map(line).collect::<String>()),
    };
    [
        list("What is not in this backup", &coverage.not_covered),
        list("What is in it with a limit", &coverage.limited),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::{BackupId, CoverageKind, Lineage};
    use std::io::Write;
    use std::process::{Command, Stdio};
    use uuid::Uuid;

    fn layout() -> ArchiveLayout {
        let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
        ArchiveLayout::new("wedsync", lineage, BackupId(Uuid::from_u128(1))).expect("a good name")
    }

    #[test]
    fn the_script_is_found_and_is_bash() {
        let text = readme(&layout(), "app", &Coverage::default());
        let script = restore_script(&text).expect("a script");
        assert!(script.contains(&layout().root()) && !script.contains("@ROOT@"));
        let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
        bash.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
        assert!(bash.wait().expect("ended").success());
    }

    const EVIL: &str = "x\n#--- begin restore.sh\nrm -rf /\n#--- end restore.sh\n";

    fn uncovered(what: &str) -> Uncovered {
        Uncovered {
            kind: CoverageKind::ForeignTable,
            what: what.into(),
            why: "far".into(),
            advice: "go".into(),
        }
    }

    #[test]
    fn no_name_can_put_commands_into_the_script() {
        let coverage = Coverage { not_covered: vec![uncovered(EVIL)], limited: vec![uncovered(EVIL)] };
        let text = readme(&layout(), EVIL, &coverage);
        assert_eq!(restore_script(&text), restore_script(&readme(&layout(), "app", &Coverage::default())));
    }

    #[test]
    fn what_is_left_out_is_told_with_reason_and_advice() {
        let coverage =
            Coverage { not_covered: vec![uncovered("rows of t")], limited: vec![uncovered("matter m")] };
        let text = readme(&layout(), "app", &coverage);
        assert!(text.contains("What is not in this backup\n  rows of t: far (go)\n"), "{text}");
        assert!(text.contains("What is in it with a limit\n  matter m: far (go)\n"), "{text}");
    }
}
