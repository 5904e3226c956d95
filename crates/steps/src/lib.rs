//! keepsake-steps.
