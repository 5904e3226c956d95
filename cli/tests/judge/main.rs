//! The judge: a database restored from our archive beside the same database restored by `pg_dump` and `pg_restore`,
//! compared object by object and row by row with programs that are not ours.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod encodings;
mod evidence;
mod extensions;
mod large;
mod memberships;
mod negative;
mod owners;
mod random;
mod server;
mod trial;
mod unrestorable;
mod verdict;
mod versions;
mod ways;
mod zoos;
