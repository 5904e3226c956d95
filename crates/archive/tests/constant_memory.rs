//! A seal and an open take the same memory for a large object as for a small one. A file of its own: the peak is
//! counted per process.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use keepsake_archive::{BackupIdentity, Content, Sealer, ZSTD_LEVEL, open_rows};
use std::fs::File;
use std::io::{self, Write};

/// One chunk of 8 MiB, the compressor's 4 MiB, and as much again for the allocator.
const BOUND_KIB: u64 = 24 * 1024;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_peak_stays_far_below_the_size_of_the_object() {
    let identity = BackupIdentity::generate();
    let before = peak_kib();
    let mut file = tempfile::tempfile().unwrap();
    let mut sink: File = file.try_clone().unwrap();
    let mut sealer =
        Sealer::new(&identity.recipient(), ZSTD_LEVEL, Content::Rows, |chunk| sink.write_all(&chunk))
            .unwrap();
    for id in 0..3_000_000_u64 {
        let row = format!("{id}\tguest {:x}\ttable {}\n", id.wrapping_mul(0x9E37_79B9_7F4A_7C15), id % 977);
        sealer.write(row.as_bytes()).unwrap();
    }
    let sealed = sealer.finish().unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let mut rows = open_rows(file, &identity, &sealed.object("k"), sealed.content).unwrap();
    assert_eq!(io::copy(&mut rows, &mut io::sink()).unwrap(), sealed.content.raw_bytes);
    let grown = peak_kib() - before;
    assert!(sealed.content.raw_bytes > 4 * BOUND_KIB * 1024 && sealed.stored_bytes > BOUND_KIB * 1024);
    assert!(grown < BOUND_KIB, "the peak grew by {grown} KiB");
}
