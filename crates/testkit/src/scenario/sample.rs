use crate::{MemoryDatabase, MemoryTable};
use keepsake_domain::{SequenceName, SequenceValue};

/// Stands in every row of [`sample`], so that its bytes can be looked for where no row may be.
pub const MARKER: &str = "Zsuzsanna-Plaintext";

/// A small database with a table of several parts, an empty one, a sequence, an index and large objects.
#[must_use]
pub fn sample() -> MemoryDatabase {
    let guest = |id: u32| format!("{id}\t{MARKER} {id}\t\\N\ttable {}", id % 7);
    let vendor = |id: u32| format!("{id}\t{MARKER} Gärten \\\\ Söhne\\n{id}");
    let sequence = SequenceName { schema: "public".to_owned(), name: "guests_id_seq".to_owned() };
    MemoryDatabase {
        tables: vec![
            MemoryTable::new("guests", &["id", "name", "diet", "seat"], (1..=32).map(guest)),
            MemoryTable::new("vendors", &["id", "name"], (1..=3).map(vendor)),
            MemoryTable::new("photos", &["id"], []),
        ],
        sequences: vec![SequenceValue { sequence, last_value: 32, is_called: true }],
        post_objects: vec![
            "index public.guests_pkey".to_owned(),
            "policy own_rows on public.guests".to_owned(),
        ],
        large_objects: vec![MARKER.as_bytes().to_vec(), vec![0, 255, 10]],
        roles: vec!["wedsync_app".to_owned()],
    }
}
