//! The judge of point-in-time recovery is Postgres itself: a source under random load is brought to random targets by its
//! own physical recovery and by ours, and both are compared table by table with statements that are not ours.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod commits;
mod content;
mod definitions;
mod load;
mod ours;
mod physical;
mod schema;
mod source;
mod target;
mod versions;
