//! The steps of a backup, each repeatable, acting only through [`ports`].

pub mod ports;
