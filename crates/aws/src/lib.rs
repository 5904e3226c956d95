//! The ports over the AWS SDK. No type of the SDK shows in a signature here.

mod answer;
mod clients;
mod instances;
mod keys;
mod notices;
mod s3;
mod secrets;

pub use clients::{CALL_TIMEOUT, Clients, NotConfigured};
pub use instances::{RdsInstances, RdsSettings};
pub use keys::KmsKeyHolder;
pub use notices::SnsNotices;
pub use s3::{S3Limits, S3Repository};
pub use secrets::SecretsManagerSecrets;
