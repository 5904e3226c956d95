//! The real program against real servers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod bench;
mod by_hand;
mod capture;
mod catalog;
mod cloud;
mod coverage;
mod damage;
mod database;
mod differential;
mod golden;
mod interruption;
mod json;
mod kill_sweep;
mod kill_sweep_changes;
mod kill_sweep_differential;
mod killing;
mod negative_controls;
mod point_in_time;
mod program;
mod protected;
mod providers;
mod readme;
mod refusals;
mod roles;
mod round_trip;
mod safety;
mod schema_replay;
mod standby;
mod unprotect;
mod usage;
