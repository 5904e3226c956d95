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
    /// The next read of this table is cancelled for somebody who waits.
    GaveWay {
        /// The table's name without schema.
        table: String,
    },
    /// The next dump of the schema is cancelled for somebody who waits.
    SchemaGaveWay,
}

#[derive(Debug, Default)]
pub(super) struct Script {
    rows: VecDeque<(String, Break)>,
    dumps: VecDeque<Break>,
    cancelled: Vec<String>,
    cancelled_dumps: usize,
}

impl Script {
    pub(super) fn add(&mut self, fault: SourceFault) {
        match fault {
            SourceFault::Rows { table, at } => self.rows.push_back((table, at)),
            SourceFault::SchemaDump(at) => self.dumps.push_back(at),
            SourceFault::GaveWay { table } => self.cancelled.push(table),
            SourceFault::SchemaGaveWay => self.cancelled_dumps += 1,
        }
    }

    pub(super) fn next_dump(&mut self) -> Option<Break> {
        self.dumps.pop_front()
    }

    pub(super) fn next_dump_gives_way(&mut self) -> bool {
        let gives_way = self.cancelled_dumps > 0;
        self.cancelled_dumps = self.cancelled_dumps.saturating_sub(1);
        gives_way
    }

    pub(super) fn next_rows_give_way(&mut self, table: &str) -> bool {
        let index = self.cancelled.iter().position(|name| name == table);
        index.map(|index| self.cancelled.remove(index)).is_some()
    }

    pub(super) fn next_rows(&mut self, table: &str) -> Option<Break> {
        let index = self.rows.iter().position(|(name, _)| name == table)?;
        self.rows.remove(index).map(|(_, at)| at)
    }
}
