//! The Lambda functions: configuration, failure names, telemetry, and one thin handler per step.
//!
//! Each binary in `src/bin` serves one handler. What a handler is given and answers is documented at its input type.

mod app;
mod failure;
pub mod handlers;
mod serve;
mod settings;
mod telemetry;

pub use app::App;
pub use failure::FunctionError;
pub use serve::serve;
pub use settings::{MissingSetting, Settings};
