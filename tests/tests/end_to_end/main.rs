//! The whole product on the local cloud: real state machines, real function binaries, real Postgres.
//!
//! `cargo x test` deploys the templates and hands their outputs over in the environment. The tests share one
//! deployment and take turns, because two cores run one backup at a time well.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod captures;
mod cloud;
mod continuous;
mod copies;
mod events;
mod failures;
mod interrupted;
mod kill_sweep;
mod lost_answers;
mod processes;
mod relay;
mod scheduled;
mod source;
