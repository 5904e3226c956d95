//! keepsake-postgres.
