//! Where a certificate is kept.

use crate::arguments::RestoreArguments;
use crate::failure::Failure;
use crate::private_file::write_new;
use keepsake_domain::{Certificate, Classified, FailureClass};
use keepsake_steps::ports::Repository;
use keepsake_steps::{StandingBackup, store_certificate};
use std::path::Path;
use uuid::Uuid;

/// Before anything else: a long restore must not end with a certificate that has no place.
///
/// # Errors
/// When the file exists or its folder does not.
pub fn can_be_written(certificate: &Path) -> Result<(), Failure> {
    let problem = if certificate.symlink_metadata().is_ok() {
        "exists"
    } else if certificate.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir()) {
        return Ok(());
    } else {
        "lies in a folder that does not exist"
    };
    Err(Failure::usage(
        format!("--certificate: {} {problem}", certificate.display()),
        "name a file that does not exist yet, in a folder that does; no certificate is ever overwritten",
    ))
}

/// Writes the certificate where it was asked for.
///
/// # Errors
/// When it was not kept; it is printed all the same.
pub async fn keep(
    arguments: &RestoreArguments,
    repository: &dyn Repository,
    backup: &StandingBackup,
    certificate: &Certificate,
) -> Result<(), Failure> {
    let at_risk = "nothing of the restore; only its certificate was not kept";
    if let Some(path) = &arguments.certificate {
        let lost = |cause: String| {
            let what = format!("cannot write certificate {}: {cause}", path.display());
            Failure::found(
                FailureClass::Permanent,
                what,
                at_risk,
                "copy the certificate from what was printed",
            )
        };
        let json = serde_json::to_vec_pretty(certificate).map_err(|cause| lost(cause.to_string()))?;
        write_new(path, &json).map_err(|cause| lost(cause.to_string()))?;
    }
    if arguments.record {
        let stored = store_certificate(repository, backup, Uuid::now_v7(), certificate).await;
        stored.map_err(|error| {
            let next = error.explanation().next;
            Failure::found(error.class(), keepsake_domain::chain(&error), at_risk, next)
        })?;
    }
    Ok(())
}
