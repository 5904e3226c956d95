//! What can be wrong with a declaration before the catalog is asked.

use super::declaration::{
    Declaration, InvalidDeclaration, LocationDeclaration, PolicyDeclaration, SourceDeclaration,
};
use keepsake_archive::{ArchiveLayout, Recipient, ZSTD_LEVELS};
use keepsake_domain::{BackupId, Lineage, Schedule};
use std::collections::BTreeSet;

/// Endings of a URL's scheme that a location can have, as the catalog's table checks too.
const SCHEMES: [&str; 5] = ["s3://", "gs://", "azure://", "https://", "file://"];

/// One primary and fifteen copies: the table's range.
const MOST_COPIES: usize = 15;

impl Declaration {
    /// Checks names, references to secrets, URLs, schedules and time zones.
    ///
    /// # Errors
    /// [`InvalidDeclaration`] with every problem at once.
    pub fn check(&self) -> Result<(), InvalidDeclaration> {
        let mut problems = Vec::new();
        twice("source", self.sources.iter().map(|source| &source.name), &mut problems);
        twice("location", self.locations.iter().map(|location| &location.name), &mut problems);
        twice("policy", self.policies.iter().map(|policy| &policy.name), &mut problems);
        self.sources.iter().for_each(|source| check_source(source, &mut problems));
        self.locations.iter().for_each(|location| check_location(location, &mut problems));
        self.policies.iter().for_each(|policy| check_policy(policy, &mut problems));
        if problems.is_empty() { Ok(()) } else { Err(InvalidDeclaration { problems }) }
    }
}

fn twice<'a>(kind: &str, names: impl Iterator<Item = &'a String>, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            problems.push(format!("a {kind} has no name"));
        } else if !seen.insert(name) {
            problems.push(format!("{kind} {name} is declared twice"));
        }
    }
}

fn check_source(source: &SourceDeclaration, problems: &mut Vec<String>) {
    // Only the name is checked; the rest of the layout does not matter here.
    let lineage = Lineage { system_identifier: 0, timeline: 0, database_oid: 0 };
    if let Err(invalid) = ArchiveLayout::new(&source.name, lineage, BackupId(uuid::Uuid::nil())) {
        problems.push(invalid.to_string());
    }
    let secret = &source.connection_secret;
    let is_reference = secret.starts_with("arn:aws") && secret.contains(":secretsmanager:")
        || secret.strip_prefix("env:").is_some_and(is_variable);
    if !is_reference || looks_like_credential(secret) {
        problems.push(format!(
            "source {}: connection_secret must be a Secrets Manager ARN or env:NAME, never the connection itself",
            source.name
        ));
    }
}

fn is_variable(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_location(location: &LocationDeclaration, problems: &mut Vec<String>) {
    let name = &location.name;
    if location.url.contains('@') || location.url.starts_with("postgres") {
        problems.push(format!("location {name}: its url must not carry a user or password"));
    } else if !SCHEMES.iter().any(|scheme| location.url.starts_with(scheme)) {
        problems.push(format!("location {name}: its url must begin with one of {}", SCHEMES.join(" ")));
    }
    if location.region.is_empty() {
        problems.push(format!("location {name}: region is empty; for a folder write \"local\""));
    }
    if location.description.as_deref().is_some_and(looks_like_credential) {
        problems.push(format!("location {name}: its description looks like a credential"));
    }
}

fn check_policy(policy: &PolicyDeclaration, problems: &mut Vec<String>) {
    let name = &policy.name;
    for schedule in [&policy.schedule_cron, &policy.capture_schedule_cron].into_iter().flatten() {
        if let Err(invalid) = schedule.parse::<Schedule>() {
            problems.push(format!("policy {name}: {invalid}"));
        }
    }
    if jiff::tz::TimeZone::get(&policy.timezone).is_err() {
        problems.push(format!("policy {name}: \"{}\" is not an IANA time zone", policy.timezone));
    }
    if policy.recovery_recipients.is_empty() {
        problems.push(format!("policy {name}: without a recovery recipient, no backup opens without KMS"));
    }
    if policy.recovery_recipients.iter().any(|recipient| recipient.parse::<Recipient>().is_err()) {
        problems.push(format!("policy {name}: a recovery recipient is a public key like age1…"));
    }
    let level = policy.compression_level;
    if !i32::try_from(level).is_ok_and(|level| ZSTD_LEVELS.contains(&level)) {
        let (least, most) = (ZSTD_LEVELS.start(), ZSTD_LEVELS.end());
        problems.push(format!("policy {name}: compression_level {level} is not between {least} and {most}"));
    }
    if policy.copies.len() > MOST_COPIES {
        problems.push(format!("policy {name}: at most {MOST_COPIES} copies"));
    }
    twice("location of the policy", std::iter::once(&policy.primary).chain(&policy.copies), problems);
    let texts = [policy.description.as_deref(), policy.kms_key_id.as_deref()];
    if texts.into_iter().flatten().any(looks_like_credential) {
        problems.push(format!("policy {name}: a text looks like a credential"));
    }
}

fn looks_like_credential(text: &str) -> bool {
    text.contains("AGE-SECRET-KEY") || text.contains("postgres://") || text.contains("postgresql://") || {
        let authority = text.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        authority.contains('@')
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "sources": [{"name": "wedsync", "provider": "supabase", "connection_secret": "env:WEDSYNC_URL"}],
        "locations": [{"name": "main", "url": "s3://backups/main", "region": "eu-central-1"}],
        "policies": [{"name": "nightly", "source": "wedsync", "primary": "main", "recovery_recipients": ["age1maeq8lhyy5554azj4w3md27r0j88am77tjm4rwdxh9elq5lh8g5smnc06x"],
                      "schedule_cron": "cron(0 2 * * ? *)", "timezone": "Europe/Vienna"}]
    }"#;

    fn problems(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        Declaration::parse(&GOOD.replace(from, to)).expect_err(to).to_string()
    }

    #[test]
    fn fills_in_the_defaults_of_the_catalog() {
        let policy = Declaration::parse(GOOD).unwrap().policies.remove(0);
        assert_eq!((policy.retention_daily, policy.retention_weekly, policy.retention_monthly), (7, 4, 12));
        assert_eq!((policy.max_parallel_jobs, policy.priority_level, policy.rpo_minutes), (2, 5, 15));
        assert!(policy.test_restore && policy.is_active && !policy.notify_success);
    }

    #[test]
    fn a_recipient_with_one_letter_wrong_is_refused() {
        let text = problems("age1maeq8lhyy", "age1maeq8lhyz");
        assert!(text.contains("recovery recipient"), "{text}");
    }

    #[test]
    fn a_credential_is_refused_and_not_repeated() {
        for (from, to) in [
            ("s3://backups/main", "s3://key:hunter2@backups/main"),
            ("s3://backups/main", "postgres://u:hunter2@h/d"),
            ("env:WEDSYNC_URL", "postgres://u:hunter2@h/d"),
            ("env:WEDSYNC_URL", "hunter2"),
            ("age1maeq8lhyy5554azj4w3md27r0j88am77tjm4rwdxh9elq5lh8g5smnc06x", "AGE-SECRET-KEY-1HUNTER2"),
        ] {
            let text = problems(from, to).to_lowercase();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_typing_error_is_no_silent_default() {
        assert!(problems("\"timezone\"", "\"time_zone\"").contains("time_zone"));
    }

    #[test]
    fn schedules_and_time_zones_are_checked_before_the_deploy() {
        assert!(problems("cron(0 2 * * ? *)", "cron(0 2 * * *)").contains("six fields"));
        assert!(problems("Europe/Vienna", "Europe/Wien").contains("Europe/Wien"));
    }

    #[test]
    fn a_level_at_which_nothing_is_sealed_is_refused_and_every_other_is_not() {
        let at = |level: u32| {
            let text = GOOD.replace("\"timezone\"", &format!("\"compression_level\": {level}, \"timezone\""));
            Declaration::parse(&text)
        };
        for level in [0, 20, 22, u32::MAX] {
            let text = at(level).unwrap_err().to_string();
            assert!(text.contains(&format!("compression_level {level} is not between 1 and 19")), "{text}");
        }
        for level in ZSTD_LEVELS {
            at(level.unsigned_abs()).unwrap();
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = Declaration::parse(
            &GOOD
                .replace("Europe/Vienna", "Mars")
                .replace("\"wedsync\", \"provider\"", "\"Wed Sync\", \"provider\""),
        );
        assert_eq!(text.unwrap_err().problems.len(), 2);
    }

    #[test]
    fn a_copy_is_not_made_beside_its_original() {
        assert!(
            problems("\"primary\": \"main\"", "\"primary\": \"main\", \"copies\": [\"main\"]")
                .contains("twice")
        );
    }
}
