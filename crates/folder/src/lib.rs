//! A repository in a folder: `file:///folder`, for backups to a disk and for restores by hand.
//!
//! Keys are paths below the folder. What is being written stands in `.unfinished/` beside them, is made durable there,
//! and appears under its key in one step that never replaces anything.

mod errors;
mod keys;
mod reading;
mod repository;
mod unfinished;

pub use repository::FolderRepository;
