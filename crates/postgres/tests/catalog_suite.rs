//! The catalog in Postgres keeps the catalog's contract, with no more rights than a function has.

mod catalog_bench;

keepsake_testkit::catalog_suite!(catalog_bench::Functions::default());
