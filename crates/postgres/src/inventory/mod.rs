//! What a database holds, read from its catalogs; the same for source and target, so that both name things alike.

mod coverage;
mod fingerprint;
mod globals;
mod objects;
mod provider;
mod sequences;
mod server;
mod tables;

pub(crate) use coverage::coverage;
pub(crate) use fingerprint::{schema_fingerprint, schema_rows};
pub(crate) use globals::globals;
pub(crate) use objects::{large_objects, objects};
pub(crate) use provider::provider;
pub(crate) use sequences::sequences;
pub(crate) use server::{available_extensions, server_facts};
pub(crate) use tables::tables;

/// Schemas that are the server's own, or ours: the bookkeeping of a restore, and what watches a source's schema
/// ([`keepsake_domain::CAPTURE_SCHEMA`]).
pub(crate) const FOREIGN_SCHEMAS: &str = "n.nspname <> ALL ('{pg_catalog,information_schema,pg_toast,keepsake_restore,keepsake_capture}') \
                                          AND n.nspname !~ '^pg_(temp|toast_temp)_'";
