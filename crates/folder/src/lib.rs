//! keepsake-folder.
