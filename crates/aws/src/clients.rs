use crate::answer::{Cause, credentials_are_late};
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::config::ProvideCredentials;
use keepsake_domain::{Classified, Explanation, FailureClass};
use std::time::Duration;

/// A service in the same or another region answers a handshake in well under a second; what takes longer is lost.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One try of a small call, to KMS, RDS, SNS or Secrets Manager; these answer within a second.
const CALL_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(14);
/// All tries of a small call with the pauses between them. Functions that make nothing but such calls may run for 60
/// seconds: an error that comes before their end has a class and a text, a function that is killed has neither.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(45);
/// Until the first byte of an answer of S3, which may think about a large upload's completion; copying sets its own.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// One try at S3 with its body: 8 MiB at half a megabit per second. Functions that move bodies may run for 15 minutes.
const BODY_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(135);
/// Three tries. The state machines retry whole steps after that, with longer pauses.
const ATTEMPTS: u32 = 3;

/// Credentials, region, endpoints and limits for all clients; made once, in `main`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
    path_style: bool,
}

impl Clients {
    /// Reads environment and profile as every AWS tool does: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`,
    /// `AWS_ENDPOINT_URL_S3` and so on. Credentials are looked for at the first call only.
    pub async fn load() -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(CALL_ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .load()
            .await;
        // A bucket's name is part of the host name on AWS; other stores rarely have such host names.
        let path_style = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        Self { config, path_style }
    }

    /// Looks whether there are a region and credentials at all, for a person who may have forgotten them: a call without
    /// them fails too, but like a lost connection.
    ///
    /// # Errors
    /// [`NotConfigured`].
    pub async fn check(&self) -> Result<(), NotConfigured> {
        if self.config.region().is_none() {
            return Err(NotConfigured::Region);
        }
        match self.config.credentials_provider() {
            None => Err(NotConfigured::Credentials { cause: "no provider of credentials".into() }),
            Some(provider) => match provider.provide_credentials().await {
                Ok(_) => Ok(()),
                Err(cause) if credentials_are_late(&cause) => {
                    Err(NotConfigured::CredentialsLate { cause: Box::new(cause) })
                }
                Err(cause) => Err(NotConfigured::Credentials { cause: Box::new(cause) }),
            },
        }
    }

    /// Of a configuration of a test's own.
    #[cfg(test)]
    pub(crate) fn of(config: SdkConfig) -> Self {
        Self { config, path_style: false }
    }

    /// The same in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        Self { config, path_style: self.path_style }
    }

    /// The region, if one was given.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(Region::as_ref)
    }

    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        use aws_sdk_s3::config::ResponseChecksumValidation;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_attempt_timeout(BODY_ATTEMPT_TIMEOUT)
            .disable_operation_timeout()
            .build();
        // What is read is compared with the manifest's SHA-256; a second check would fail in another place, without
        // telling damage from a broken connection.
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .timeout_config(timeouts)
            .force_path_style(self.path_style)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub(crate) fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    pub(crate) fn rds(&self) -> aws_sdk_rds::Client {
        aws_sdk_rds::Client::new(&self.config)
    }

    pub(crate) fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.config)
    }

    pub(crate) fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}

/// What AWS needs to know from the environment and was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotConfigured {
    /// No region.
    #[error("no AWS region is set")]
    Region,
    /// No credentials, or they could not be read.
    #[error("no AWS credentials were found")]
    Credentials {
        /// What the SDK saw.
        #[source]
        cause: Cause,
    },
    /// Whoever gives them did not answer in time.
    #[error("AWS credentials did not come in time")]
    CredentialsLate {
        /// What the SDK saw.
        #[source]
        cause: Cause,
    },
}

impl Classified for NotConfigured {
    fn class(&self) -> FailureClass {
        match self {
            Self::Region | Self::Credentials { .. } => FailureClass::Permanent,
            Self::CredentialsLate { .. } => FailureClass::Transient,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Region => {
                "set AWS_REGION, for example AWS_REGION=eu-central-1, or AWS_PROFILE to a profile with a region"
            }
            Self::Credentials { .. } => {
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them"
            }
            Self::CredentialsLate { .. } => {
                "run again; if it stays so, look whether the service that gives the role's credentials can be reached"
            }
        };
        Explanation { at_risk: "nothing: AWS was not asked for anything".to_owned(), next: next.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use aws_credential_types::provider::{
        ProvideCredentials as Provide, SharedCredentialsProvider, error::CredentialsError, future,
    };

    #[derive(Debug)]
    struct Provider(fn() -> CredentialsError);

    impl Provide for Provider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err((self.0)()))
        }
    }

    /// Class of the check, and whether a call that needs credentials may pass at the next try.
    async fn judged(refusal: fn() -> CredentialsError) -> (FailureClass, bool) {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .retry_config(RetryConfig::disabled())
            .credentials_provider(SharedCredentialsProvider::new(Provider(refusal)))
            .build();
        let clients = Clients::of(config);
        let checked = clients.check().await.expect_err("there are no credentials").class();
        let called = clients.kms().describe_key().key_id("any").send().await.map_err(Answer::of);
        (checked, called.expect_err("there are no credentials").is_transient)
    }

    #[tokio::test]
    async fn credentials_that_come_late_may_come_at_the_next_try_and_missing_ones_never_do() {
        let late = || CredentialsError::provider_timed_out(Duration::from_secs(5));
        assert_eq!(judged(late).await, (FailureClass::Transient, true));
        let missing = CredentialsError::not_loaded_no_source;
        assert_eq!(judged(missing).await, (FailureClass::Permanent, false));
    }
}
