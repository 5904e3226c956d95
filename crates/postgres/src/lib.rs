//! Postgres: the source that is backed up and whose changes are captured, the target that is restored to, and the
//! catalog over SQL.
//!
//! # Globals
//! [`PostgresSource`] describes what lives beside a database as JSON, without any password: `provider`, `database`
//! (`name`, `owner`, `settings`), `roles` (`name`, `referenced`, `in_policies`, `superuser`, `inherit`, `create_role`, `create_db`,
//! `login`, `replication`, `bypass_rls`, `connection_limit`, `valid_until`, `settings`), `memberships` (`role`,
//! `member`, `admin_option`, from version 16 on `inherit_option` and `set_option`), `tablespaces` and `extensions`.

pub mod catalog;

mod address;
mod changes;
mod child;
mod client_tools;
mod connect;
mod copy_frames;
mod error;
mod framed;
mod inventory;
mod reader;
mod session;
mod source;
mod target;
mod tls;

pub use changes::PostgresChanges;
pub use client_tools::PgBin;
pub use connect::connect;
pub use error::{ConnectError, ServerMessage};
pub use source::PostgresSource;
pub use target::PostgresTarget;
