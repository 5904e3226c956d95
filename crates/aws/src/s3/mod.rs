//! A repository in a bucket.

mod copying;
mod errors;
mod multipart;
mod parts;
mod place;
mod reading;
mod repository;
mod uploading;

pub use place::S3Limits;
pub(crate) use place::percent_encoded;
pub use repository::S3Repository;
