//! `keepsake`, the operator's and the break-glass tool.
fn main() {}
