//! Reading what stands in a repository.

use crate::terminal::note;
use keepsake_domain::Certificate;
use keepsake_steps::ports::Repository;
use keepsake_steps::{StandingBackup, StepError};

/// A certificate keeps at most 100 differences.
const CERTIFICATE_LIMIT_BYTES: u64 = 1 << 20;

/// Certificates of restores of exactly this manifest, oldest first. One that cannot be read proves nothing, and is
/// told of.
///
/// # Errors
/// When the repository did not answer.
pub async fn certificates(
    repository: &dyn Repository,
    backup: &StandingBackup,
) -> Result<Vec<Certificate>, StepError> {
    let prefix = format!("{}certificates/", backup.layout.root());
    let mut certificates: Vec<Certificate> = Vec::new();
    for object in repository.list(&prefix).await? {
        let bytes = repository.get(&object.key, CERTIFICATE_LIMIT_BYTES).await?;
        match serde_json::from_slice::<Certificate>(&bytes) {
            Ok(certificate) if certificate.manifest_sha256 == backup.manifest_sha256 => {
                certificates.push(certificate);
            }
            Ok(_) => note(&format!("note: certificate {} is of another manifest", object.key)),
            Err(error) => note(&format!("note: certificate {} is damaged: {error}", object.key)),
        }
    }
    certificates.sort_by_key(|certificate| certificate.compared_at);
    Ok(certificates)
}
