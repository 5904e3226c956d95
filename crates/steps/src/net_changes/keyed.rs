//! Rows that a key names.

use super::{HashRange, Impossible, ROW_OVERHEAD_BYTES, weight};
use crate::ports::{Deletion, Insertion, Update};
use keepsake_archive::CopyRow;
use keepsake_domain::Lsn;
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct KeyedRows {
    key: Vec<usize>,
    /// Whether the target holds no row any more that is not named here.
    is_emptied: bool,
    slots: HashMap<CopyRow, Slot>,
    bytes: usize,
}

/// What is known of one key.
#[derive(Debug)]
struct Slot {
    target: InTarget,
    after: Option<Image>,
    /// The change that named it first.
    lsn: Lsn,
}

/// The row that the target holds under this key before the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InTarget {
    Absent,
    /// To be deleted, also when another takes its place.
    Present,
    /// Some image that is not whole keeps values of it.
    Kept,
}

/// What a row is after the batch. While it is not whole, `origin` is the key of the row in the target whose values it
/// keeps.
#[derive(Debug)]
struct Image {
    row: CopyRow,
    origin: Option<CopyRow>,
}

type Parts = (Vec<Deletion>, Vec<Update>, Vec<Insertion>);

impl KeyedRows {
    pub fn new(key: Vec<usize>, is_emptied: bool) -> Self {
        Self { key, is_emptied, slots: HashMap::new(), bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn insert(&mut self, new: CopyRow, at: Lsn) -> Result<(), Impossible> {
        if !new.is_whole() {
            return Err(Impossible::NotWhole);
        }
        let key = new.at(&self.key);
        self.put(key, Image { row: new, origin: None }, at)
    }

    pub fn update(&mut self, old: Option<CopyRow>, new: CopyRow, at: Lsn) -> Result<(), Impossible> {
        let (from, to, new) = match old {
            None => {
                let key = new.at(&self.key);
                (key.clone(), key, new)
            }
            Some(old) => {
                // A large value of the key that did not change stands in the old key.
                let new = new.over_at(&self.key, &old);
                (old.at(&self.key), new.at(&self.key), new)
            }
        };
        if !from.is_whole() || !to.is_whole() {
            return Err(Impossible::NotWhole);
        }
        let image = match self.take(&from, at)? {
            None if new.is_whole() => Image { row: new, origin: None },
            None => {
                self.in_target(&from, InTarget::Kept);
                Image { row: new, origin: Some(from.clone()) }
            }
            Some(before) => self.merged(before, &new),
        };
        if to != from {
            self.forget_if_absent(&from);
        }
        self.put(to, image, at)
    }

    pub fn delete(&mut self, old: &CopyRow, at: Lsn) -> Result<(), Impossible> {
        let key = old.at(&self.key);
        if !key.is_whole() {
            return Err(Impossible::NotWhole);
        }
        if let Some(Image { origin: Some(origin), .. }) = self.take(&key, at)? {
            self.in_target(&origin, InTarget::Present);
        }
        self.forget_if_absent(&key);
        Ok(())
    }

    /// Lets go what does not fall into the range. No row may keep values of another key.
    pub fn keep(&mut self, range: HashRange) {
        let mut gone = 0;
        self.slots.retain(|key, slot| {
            let is_kept = range.has(key);
            if !is_kept {
                gone += weight(key) + slot.after.as_ref().map_or(0, |image| weight(&image.row));
            }
            is_kept
        });
        self.bytes -= gone;
    }

    pub fn into_parts(self) -> Parts {
        let (mut deletions, mut updates, mut insertions) = (Vec::new(), Vec::new(), Vec::new());
        for (key, slot) in self.slots {
            let lsn = slot.lsn;
            match slot.after {
                Some(Image { row, origin: None }) => insertions.push((lsn, Insertion { row, count: 1 })),
                Some(Image { row, origin: Some(origin) }) => updates.push(Update { key: origin, row, lsn }),
                None => {}
            }
            if slot.target == InTarget::Present {
                deletions.push(Deletion { key, count: 1, lsn });
            }
        }
        // As the source wrote them: rows that came together lie together.
        deletions.sort_by_key(|deletion| deletion.lsn);
        updates.sort_by_key(|update: &Update| update.lsn);
        insertions.sort_by_key(|(lsn, _)| *lsn);
        (deletions, updates, insertions.into_iter().map(|(_, insertion)| insertion).collect())
    }

    /// Takes the image that a change replaces; `None` where only the target has it.
    fn take(&mut self, key: &CopyRow, at: Lsn) -> Result<Option<Image>, Impossible> {
        if let Some(slot) = self.slots.get_mut(key) {
            let image = slot.after.take().ok_or(Impossible::Missing)?;
            self.bytes -= weight(&image.row);
            return Ok(Some(image));
        }
        if self.is_emptied {
            return Err(Impossible::Missing);
        }
        self.bytes += weight(key);
        self.slots.insert(key.clone(), Slot { target: InTarget::Present, after: None, lsn: at });
        Ok(None)
    }

    fn put(&mut self, key: CopyRow, image: Image, at: Lsn) -> Result<(), Impossible> {
        let key_bytes = weight(&key);
        // A key that nothing named before is free: the source had it unique.
        let slot = self.slots.entry(key).or_insert_with(|| {
            self.bytes += key_bytes;
            Slot { target: InTarget::Absent, after: None, lsn: at }
        });
        if slot.after.is_some() {
            return Err(Impossible::Doubled);
        }
        self.bytes += weight(&image.row);
        slot.after = Some(image);
        Ok(())
    }

    fn merged(&mut self, before: Image, new: &CopyRow) -> Image {
        let row = new.over(&before.row);
        if !row.is_whole() {
            return Image { row, origin: before.origin };
        }
        if let Some(origin) = before.origin {
            self.in_target(&origin, InTarget::Present);
        }
        Image { row, origin: None }
    }

    fn in_target(&mut self, key: &CopyRow, target: InTarget) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.target = target;
        }
    }

    fn forget_if_absent(&mut self, key: &CopyRow) {
        let is_absent = |slot: &Slot| slot.target == InTarget::Absent && slot.after.is_none();
        if self.slots.get(key).is_some_and(is_absent) {
            self.slots.remove(key);
            self.bytes -= weight(key);
        }
    }
}

const _: () = assert!(ROW_OVERHEAD_BYTES > size_of::<Slot>() + size_of::<CopyRow>());
