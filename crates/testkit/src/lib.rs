//! keepsake-testkit.
