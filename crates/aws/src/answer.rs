//! What a service answered when it did not do what it was asked.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use std::error::Error;

pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// A service's own words. They name keys, roles and requests, never credentials.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message} (HTTP {status}, request {request_id})")]
struct Said {
    code: String,
    message: String,
    status: u16,
    request_id: String,
}

/// A failed call, judged.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The service's code, or empty when none came.
    pub code: String,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// Whether it may pass by itself.
    pub is_transient: bool,
    /// Where the bucket is, when S3 says that it is not here.
    pub bucket_region: Option<String>,
    /// For the error's source.
    pub cause: Cause,
}

/// Codes of answers that pass by themselves although their status does not say so.
/// Source: common errors of the services' API references, read 2026-11-20.
const PASSING: [&str; 9] = [
    "KMSInternalException",
    "KMSInvalidStateException",
    "KeyUnavailableException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestTimeout",
    "RequestLimitExceeded",
    "SlowDown",
    "TooManyRequestsException",
];

impl Answer {
    pub(crate) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(service) => {
                let (metadata, response) = (service.err().meta(), service.raw());
                Self::said(metadata.code(), metadata.message(), response)
            }
            _ => {
                let code = if lacks_credentials(&error) { "NoCredentials" } else { "" };
                let is_transient = code.is_empty() && !matches!(error, SdkError::ConstructionFailure(_));
                Self {
                    code: code.to_owned(),
                    status: 0,
                    is_transient,
                    bucket_region: None,
                    cause: Box::new(error),
                }
            }
        }
    }

    fn said(code: Option<&str>, message: Option<&str>, response: &HttpResponse) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers());
        let code = code.unwrap_or_default().to_owned();
        let throttled = code.contains("Throttl") || PASSING.contains(&code.as_str());
        let header = |name: &str| headers.get(name).map(str::to_owned);
        let said = Said {
            // An answer to HEAD has no body, so neither code nor message.
            code: if code.is_empty() { "no code".to_owned() } else { code.clone() },
            message: message.unwrap_or("no message").to_owned(),
            status,
            request_id: header("x-amzn-requestid").or_else(|| header("x-amz-request-id")).unwrap_or_default(),
        };
        Self {
            is_transient: status >= 500 || status == 429 || throttled,
            bucket_region: header("x-amz-bucket-region"),
            cause: Box::new(said),
            code,
            status,
        }
    }

    /// Rights or credentials are missing, whatever the service calls it.
    pub(crate) fn is_denied(&self) -> bool {
        self.status == 403
            || matches!(
                self.code.as_str(),
                "AccessDenied"
                    | "AccessDeniedException"
                    | "ExpiredToken"
                    | "ExpiredTokenException"
                    | "NoCredentials"
            )
    }
}

/// Without credentials no call leaves the process; the SDK reports it like a lost connection.
fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    !credentials_are_late(error) && causes(error).any(|cause| cause.to_string().contains("credential"))
}

/// Whoever gives the credentials did not answer in time: there are some, and they may come at the next try.
pub(crate) fn credentials_are_late(error: &(dyn Error + 'static)) -> bool {
    let is_late = |cause: &CredentialsError| matches!(cause, CredentialsError::ProviderTimedOut(_));
    causes(error).any(|cause| cause.downcast_ref().is_some_and(is_late))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}
