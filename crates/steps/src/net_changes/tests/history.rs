//! A source of guests: histories of any acts, and each change as Postgres tells it.

use super::super::*;
use crate::row_layout::Destinations;
use bytes::Bytes;
use keepsake_archive::pgoutput::{Cell, Relation, RelationColumn, ReplicaIdentity};
use keepsake_archive::{CopyText, Part, StoredObject};
use proptest::prelude::*;

/// Columns as they stand in the table; the stream sends them in another order.
const COLUMNS: [&str; 3] = ["name", "id", "photo"];

pub(super) fn layout(identity: ReplicaIdentity) -> RowLayout {
    let table = TableName { schema: "public".to_owned(), name: "guests".to_owned() };
    let object = StoredObject { key: String::new(), stored_bytes: 0, sha256: String::new(), crc32: 0 };
    let part = Part {
        number: 1,
        table,
        columns: COLUMNS.map(str::to_owned).to_vec(),
        range: None,
        filter: String::new(),
        root: None,
        content: CopyText::default(),
        object,
    };
    let column = |name: &str| RelationColumn {
        name: name.to_owned(),
        is_key: name == "id" || identity == ReplicaIdentity::Full,
        type_oid: 25,
        type_modifier: -1,
    };
    let relation = Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "guests".to_owned(),
        identity,
        columns: ["id", "photo", "name"].map(column).to_vec(),
    };
    Destinations::of(&[part]).layout(&relation).unwrap()
}

pub(super) fn text(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

/// A guest, in the stream's order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guest {
    pub(super) id: u8,
    pub(super) photo: Option<u8>,
    pub(super) name: u8,
}

impl Guest {
    pub(super) fn tuple(&self) -> Tuple {
        let photo = self.photo.map_or(Cell::Null, |photo| text(&format!("photo {photo}")));
        vec![text(&self.id.to_string()), photo, text(&format!("name\t{}", self.name))]
    }

    /// As an update sends it that left the photo as it was.
    pub(super) fn tuple_without_photo(&self) -> Tuple {
        let mut tuple = self.tuple();
        tuple[1] = Cell::Unchanged;
        tuple
    }

    pub(super) fn old_key(&self) -> Old {
        Old::Key(vec![text(&self.id.to_string()), Cell::Null, Cell::Null])
    }

    pub(super) fn row(&self) -> CopyRow {
        let tuple = self.tuple();
        CopyRow::of([&tuple[2], &tuple[0], &tuple[1]])
    }
}

/// What a history does next, whatever stands: numbers choose among the rows that are there.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Insert(Guest),
    Update {
        which: usize,
        id: Option<u8>,
        photo: Option<Option<u8>>,
        name: u8,
    },
    Delete {
        which: usize,
    },
    Truncate,
    /// Two rows take each other's key by way of a third, as a transaction does it.
    Swap {
        which: usize,
        with: usize,
    },
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    // Few keys and values, so that histories meet themselves again.
    let id = 0u8..6;
    let photo = prop::option::of(0u8..3);
    let guest = (id.clone(), photo.clone(), 0u8..3).prop_map(|(id, photo, name)| Guest { id, photo, name });
    prop_oneof![
        6 => guest.prop_map(Act::Insert),
        8 => (any::<usize>(), prop::option::of(id), prop::option::of(photo), 0u8..3)
            .prop_map(|(which, id, photo, name)| Act::Update { which, id, photo, name }),
        4 => any::<usize>().prop_map(|which| Act::Delete { which }),
        1 => Just(Act::Truncate),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, with)| Act::Swap { which, with }),
    ]
}

/// One change, as the stream carries it.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Insert(Tuple),
    Update(Option<Old>, Tuple),
    Delete(Old),
    Truncate,
}

/// A source: it does what can be done, and tells each change as Postgres does.
pub(super) struct Source {
    pub(super) identity: ReplicaIdentity,
    pub(super) guests: Vec<Guest>,
    pub(super) changes: Vec<Change>,
}

impl Source {
    pub(super) fn has(&self, id: u8) -> bool {
        self.identity != ReplicaIdentity::Full && self.guests.iter().any(|guest| guest.id == id)
    }

    pub(super) fn old(&self, guest: &Guest) -> Old {
        if self.identity == ReplicaIdentity::Full { Old::Full(guest.tuple()) } else { guest.old_key() }
    }

    pub(super) fn change(&mut self, which: usize, to: Guest) {
        let before = std::mem::replace(&mut self.guests[which], to.clone());
        let names_old = self.identity == ReplicaIdentity::Full || before.id != to.id;
        // A value that is there and stays is not sent; NULL always is.
        let keeps = to.photo.is_some() && to.photo == before.photo;
        let new = if keeps { to.tuple_without_photo() } else { to.tuple() };
        self.changes.push(Change::Update(names_old.then(|| self.old(&before)), new));
    }

    pub(super) fn run(&mut self, act: &Act) {
        let count = self.guests.len();
        match act {
            Act::Insert(guest) if !self.has(guest.id) => {
                self.guests.push(guest.clone());
                self.changes.push(Change::Insert(guest.tuple()));
            }
            Act::Update { which, id, photo, name } if count > 0 => {
                let before = self.guests[which % count].clone();
                let id = id.filter(|id| !self.has(*id)).unwrap_or(before.id);
                let to = Guest { id, photo: photo.unwrap_or(before.photo), name: *name };
                self.change(which % count, to);
            }
            Act::Delete { which } if count > 0 => {
                let gone = self.guests.swap_remove(which % count);
                self.changes.push(Change::Delete(self.old(&gone)));
            }
            Act::Truncate => {
                self.guests.clear();
                self.changes.push(Change::Truncate);
            }
            Act::Swap { which, with } if count > 1 && which % count != with % count => {
                let (one, two) = (which % count, with % count);
                let (id, other) = (self.guests[one].id, self.guests[two].id);
                let rename = |guest: &Guest, id| Guest { id, ..guest.clone() };
                self.change(one, rename(&self.guests[one], 99));
                self.change(two, rename(&self.guests[two], id));
                self.change(one, rename(&self.guests[one], other));
            }
            _ => {}
        }
    }
}

pub(super) fn guest(id: u8, photo: u8, name: u8) -> Guest {
    Guest { id, photo: Some(photo), name }
}
