//! What tests stand on: twins of every port, scripted faults, and one contract suite per port that runs on the twin
//! and on the real adapter.

pub mod catalog_suite;
pub mod change_target_suite;
mod clock;
pub mod cluster;
pub mod controls;
pub mod environment;
mod faults;
mod faulty;
mod faulty_repository;
mod memory_catalog;
mod memory_changes;
mod memory_instances;
mod memory_keys;
mod memory_notices;
mod memory_repository;
mod memory_secrets;
mod memory_source;
mod memory_target;
pub mod pgoutput;
pub mod rds;
pub mod repository_suite;
pub mod scenario;

pub use clock::TestClock;
pub use faults::{Fault, Faults, Gate, ScriptedFault};
pub use faulty::{
    Faulty, FaultyChangeApplier, FaultyChangeStream, FaultyHeldSnapshot, FaultyRowReader, FaultyRowWriter,
};
pub use faulty_repository::FaultyRepository;
pub use memory_catalog::{CatalogCapture, CatalogChain, CatalogRun, CatalogTest, MemoryCatalog, SentNotice};
pub use memory_changes::MemoryChangeSource;
pub use memory_instances::MemoryInstances;
pub use memory_keys::MemoryKeyHolder;
pub use memory_notices::MemoryNotices;
pub use memory_repository::MemoryRepository;
pub use memory_secrets::MemorySecrets;
pub use memory_source::{
    Break, MemoryDatabase, MemorySource, MemoryTable, ROWS_PER_BLOCK, SchemaDump, SourceFault,
};
pub use memory_target::MemoryTarget;
