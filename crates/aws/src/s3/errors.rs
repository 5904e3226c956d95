//! S3's answers by what a caller can do about them.

use crate::answer::{Answer, Cause};
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use keepsake_steps::ports::RepositoryError;

/// What was tried, to be completed by what was answered.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    url: String,
    act: String,
    key: Option<String>,
}

impl Failed {
    pub(crate) fn new(url: &str, act: &str) -> Self {
        Self { url: url.to_owned(), act: act.to_owned(), key: None }
    }

    /// What was tried concerns one object: then a 404 means that object.
    pub(crate) fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    pub(crate) fn by<E>(self, error: SdkError<E, HttpResponse>) -> RepositoryError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.because(Answer::of(error))
    }

    pub(crate) fn because(self, answer: Answer) -> RepositoryError {
        let Self { url, act, key } = self;
        let is_missing = answer.code == "NoSuchBucket" || answer.status == 404 && key.is_none();
        match key {
            _ if is_missing => RepositoryError::Missing { url },
            Some(key) if is_taken(&answer) => RepositoryError::AlreadyExists { url, key },
            Some(key) if answer.status == 404 && answer.code != "NoSuchUpload" => {
                RepositoryError::NotFound { url, key }
            }
            _ if answer.is_transient || is_passing(&answer) => {
                RepositoryError::Unavailable { url, act, cause: answer.cause }
            }
            // S3 speaks for KMS with codes of their own, and the status 400.
            _ if answer.is_denied() || answer.code.starts_with("KMS.") => {
                RepositoryError::Denied { url, act, cause: Some(answer.cause) }
            }
            _ => RepositoryError::Refused { url, act, cause: answer.cause },
        }
    }

    pub(crate) fn refused(self, cause: impl Into<Cause>) -> RepositoryError {
        RepositoryError::Refused { url: self.url, act: self.act, cause: cause.into() }
    }

    pub(crate) fn unavailable(self, cause: impl Into<Cause>) -> RepositoryError {
        RepositoryError::Unavailable { url: self.url, act: self.act, cause: cause.into() }
    }

    pub(crate) fn cut_off(self) -> RepositoryError {
        RepositoryError::CutOff { url: self.url, key: self.key.unwrap_or_default() }
    }
}

/// The condition that the key be free did not hold.
fn is_taken(answer: &Answer) -> bool {
    answer.status == 412 || answer.code == "PreconditionFailed"
}

/// Someone wrote the key at the same moment (try again: then it is taken or free), or our upload ended meanwhile.
pub(crate) fn is_passing(answer: &Answer) -> bool {
    matches!(answer.code.as_str(), "ConditionalRequestConflict" | "OperationAborted" | "NoSuchUpload")
        || answer.status == 409
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::{Classified, FailureClass};

    fn error(status: u16, code: &str, key: Option<&str>) -> RepositoryError {
        let is_transient = status >= 500;
        let answer =
            Answer { code: code.to_owned(), status, is_transient, bucket_region: None, cause: "said".into() };
        let failed = Failed::new("s3://bucket", "try");
        key.map_or(failed.clone(), |key| failed.with_key(key)).because(answer)
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        assert!(matches!(error(404, "NoSuchBucket", Some("a")), RepositoryError::Missing { .. }));
        assert!(matches!(error(404, "", None), RepositoryError::Missing { .. }));
        assert!(matches!(error(404, "NoSuchKey", Some("a")), RepositoryError::NotFound { .. }));
    }

    #[test]
    fn missing_rights_and_keys_are_denied() {
        for (status, code) in
            [(403, "AccessDenied"), (403, ""), (400, "KMS.DisabledException"), (400, "ExpiredToken")]
        {
            assert!(matches!(error(status, code, Some("a")), RepositoryError::Denied { .. }), "{code}");
        }
    }

    #[test]
    fn what_may_pass_is_transient_and_all_else_is_permanent() {
        for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (409, "ConditionalRequestConflict")]
        {
            assert_eq!(error(status, code, Some("a")).class(), FailureClass::Transient, "{code}");
        }
        assert_eq!(error(400, "InvalidArgument", Some("a")).class(), FailureClass::Permanent);
        assert!(matches!(error(412, "PreconditionFailed", Some("a")), RepositoryError::AlreadyExists { .. }));
    }
}
