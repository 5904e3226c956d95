//! Source and target against real servers. `cargo x test` starts them; each test makes databases of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod applying;
mod change_target;
mod changes;
mod coverage;
mod lent;
mod loading;
mod long_rows;
mod post_data;
mod refused;
mod relay;
mod round_trip;
mod safety;
mod support;
