//! keepsake-aws.
