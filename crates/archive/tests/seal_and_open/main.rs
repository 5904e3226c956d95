//! What is sealed comes back, and every kind of damage is found; each test names the detector that found it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod damage;
mod reading;
mod sealing;
mod stored;
