//! What spans crates is tested here; the package holds nothing else.
