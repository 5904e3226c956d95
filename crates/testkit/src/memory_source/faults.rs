//! What goes wrong on a source, by script.

use std::collections::VecDeque;

/// Where a stream breaks, and whether its writer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Bytes that go out before.
    pub after_bytes: usize,
    /// `true`: no error is reported, the stream only lacks its end.
    pub is_silent: bool,
}

/// One thing that goes wrong once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFault {
    /// The next read of this table breaks.
    Rows {
        /// The table's name without schema.
        table: String,
        /// Where.
        at: Break,
    },
    /// The next dump of the schema breaks.
    SchemaDump(Break),
}

#[derive(Debug, Default)]
pub(super) struct Script {
    rows: VecDeque<(String, Break)>,
    dumps: VecDeque<Break>,
}

impl Script {
    pub(super) fn add(&mut self, fault: SourceFault) {
        match fault {
            SourceFault::Rows { table, at } => self.rows.push_back((table, at)),
            SourceFault::SchemaDump(at) => self.dumps.push_back(at),
        }
    }

    pub(super) fn next_dump(&mut self) -> Option<Break> {
        self.dumps.pop_front()
    }

    pub(super) fn next_rows(&mut self, table: &str) -> Option<Break> {
        let index = self.rows.iter().position(|(name, _)| name == table)?;
        self.rows.remove(index).map(|(_, at)| at)
    }
}
