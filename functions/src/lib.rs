//! keepsake-functions.
