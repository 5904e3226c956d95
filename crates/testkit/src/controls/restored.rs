//! Damages of a restored database.

use super::Detector;

/// What is done to a restored database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredDamage {
    /// One row is deleted.
    RowDropped,
    /// One row stands twice.
    RowDuplicated,
    /// One row is replaced by a second copy of another.
    RowReplaced,
    /// One cell is changed.
    CellChanged,
    /// The empty table gets a row.
    RowInEmptyTable,
    /// A table is dropped.
    TableDropped,
    /// A table is added.
    TableAdded,
    /// A sequence stands before its last value.
    SequenceStale,
    /// An index is dropped.
    IndexDropped,
    /// A policy is dropped.
    PolicyDropped,
    /// A byte of a large object is changed.
    LargeObjectChanged,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct RestoredControl {
    /// As people read it.
    pub what: &'static str,
    /// What is done.
    pub damage: RestoredDamage,
    /// The check that must find it.
    pub found_by: Detector,
}

const fn control(what: &'static str, damage: RestoredDamage, found_by: Detector) -> RestoredControl {
    RestoredControl { what, damage, found_by }
}

/// Every damage of a restored database that must be found.
pub const RESTORED_CONTROLS: [RestoredControl; 11] = [
    control("a row dropped", RestoredDamage::RowDropped, Detector::TableRows),
    control("a row twice", RestoredDamage::RowDuplicated, Detector::TableRows),
    control("a row replaced by another one twice", RestoredDamage::RowReplaced, Detector::TableDigest),
    control("a cell changed", RestoredDamage::CellChanged, Detector::TableDigest),
    control("a row in the empty table", RestoredDamage::RowInEmptyTable, Detector::TableRows),
    control("a table missing", RestoredDamage::TableDropped, Detector::TableMissing),
    control("a table too many", RestoredDamage::TableAdded, Detector::TableUnknown),
    control("a stale sequence", RestoredDamage::SequenceStale, Detector::Sequences),
    control("an index missing", RestoredDamage::IndexDropped, Detector::Objects),
    control("a policy missing", RestoredDamage::PolicyDropped, Detector::Objects),
    control("a large object changed", RestoredDamage::LargeObjectChanged, Detector::LargeObjects),
];
