use keepsake_steps::ports::RepositoryError;
use std::io::{Error, ErrorKind};

/// Turns what the file system said into what a caller can do about it.
pub(crate) fn failed(url: &str, act: impl Into<String>, cause: Error) -> RepositoryError {
    let (url, act) = (url.to_owned(), act.into());
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RepositoryError::Full { url, act },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            RepositoryError::Denied { url, act, cause: Some(cause.into()) }
        }
        // A disk, a mount or the table of open files may come back; names, types and limits will not change.
        ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::FileTooLarge
        | ErrorKind::TooManyLinks
        | ErrorKind::Unsupported => RepositoryError::Refused { url, act, cause: cause.into() },
        _ => RepositoryError::Unavailable { url, act, cause: cause.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::{Classified, FailureClass};

    fn of_errno(errno: i32) -> RepositoryError {
        failed("file:///backups", "write \"a\"", Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_full_disk_and_a_spent_quota_are_told_as_full() {
        for errno in [28, 122] {
            assert!(matches!(of_errno(errno), RepositoryError::Full { .. }), "errno {errno}");
        }
    }

    #[test]
    fn missing_rights_are_told_as_denied_and_a_sick_disk_may_pass() {
        for errno in [1, 13, 30] {
            assert!(matches!(of_errno(errno), RepositoryError::Denied { .. }), "errno {errno}");
        }
        for errno in [5, 23, 24, 116] {
            assert_eq!(of_errno(errno).class(), FailureClass::Transient, "errno {errno}");
        }
        assert_eq!(of_errno(36).class(), FailureClass::Permanent, "a name too long stays too long");
    }
}
