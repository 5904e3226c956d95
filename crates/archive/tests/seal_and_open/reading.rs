//! Failures of the repository, and of the reader.

use crate::stored::{Stored, flipped};
use bytes::Bytes;
use keepsake_archive::{OpenError, Sealer, open};
use keepsake_domain::{Classified, FailureClass};
use std::io::{self, Read};

/// Delivers some bytes and then fails, as a connection does.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            read => Ok(read),
        }
    }
}

#[test]
fn a_repository_that_fails_is_no_corruption() {
    let stored = Stored::large();
    for cut in [0, 100, 5_000, 150_000] {
        let opened = open(Broken(&stored.bytes[..cut]), &stored.identity, &stored.object());
        let error = opened.and_then(|mut opened| {
            opened.read_to_end(&mut Vec::new()).map_err(|error| OpenError::from_io("k", error))
        });
        let error = error.unwrap_err();
        assert!(
            matches!(&error, OpenError::Read { cause, .. } if cause.kind() == io::ErrorKind::ConnectionReset)
        );
        assert_eq!(error.class(), FailureClass::Transient);
    }
}

#[test]
fn the_typed_error_is_found_inside_the_reads_error() {
    let stored = Stored::large();
    let bytes = flipped(&stored.bytes, 70_000);
    let mut opened = open(bytes.as_slice(), &stored.identity, &stored.object()).unwrap();
    let error = opened.read_to_end(&mut Vec::new()).unwrap_err();
    let found = OpenError::of(&error).map(|error| error.class());
    assert_eq!(found, Some(FailureClass::Integrity));
    assert!(error.to_string().contains("wedsync/part-1"));
}

#[test]
fn both_ends_can_move_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Sealer<fn(Bytes) -> io::Result<()>>>();
    sendable::<keepsake_archive::RowsReader<std::fs::File>>();
}
