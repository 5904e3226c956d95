//! Sealed objects to read, and to damage.

use keepsake_archive::{
    BackupIdentity, Content, CopyText, Detector, OpenError, Sealed, StoredObject, ZSTD_LEVEL, open_rows,
    seal_bytes,
};
use rand::{RngCore, SeedableRng};
use std::io::{Read, Write};

/// `COPY` text that compresses little, so that its object has several age blocks of 64 KiB.
pub(crate) fn rows(count: u64, seed: u64) -> Vec<u8> {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let row = |id| format!("{id}\tguest {:016x}{:016x}\t\\N\n", random.next_u64(), random.next_u64());
    (0..count).map(row).collect::<String>().into_bytes()
}

pub(crate) struct Stored {
    pub(crate) identity: BackupIdentity,
    pub(crate) sealed: Sealed,
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn new(raw: &[u8]) -> Self {
        let identity = BackupIdentity::generate();
        let (sealed, bytes) = seal_bytes(&identity.recipient(), Content::Rows, raw).unwrap();
        Self { identity, sealed, bytes }
    }

    /// Several age blocks, the last of them not full.
    pub(crate) fn large() -> Self {
        let stored = Self::new(&rows(12_000, 1));
        assert!(stored.bytes.len() > 3 * 65_536, "{}", stored.bytes.len());
        stored
    }

    pub(crate) fn small() -> Self {
        Self::new(&rows(3, 2))
    }

    /// Where age's blocks begin: after the header's MAC line and the nonce of 16 bytes.
    pub(crate) fn payload(&self) -> usize {
        let mac = b"\n--- ";
        let line = self.bytes.windows(mac.len()).position(|window| window == mac).unwrap();
        line + mac.len() + 43 + 1 + 16
    }

    pub(crate) fn object(&self) -> StoredObject {
        self.sealed.object("wedsync/part-1")
    }

    /// What reading `bytes` in place of the stored object ends with.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        read_rows(bytes, &self.identity, &self.object(), self.sealed.content)
    }

    /// The same when the manifest describes `bytes`: as if they had been written so, and only then hashed.
    pub(crate) fn read_as_described(&self, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let object = StoredObject::of_bytes("wedsync/part-1", bytes);
        read_rows(bytes, &self.identity, &object, self.sealed.content)
    }
}

pub(crate) fn read_rows(
    bytes: &[u8],
    identity: &BackupIdentity,
    object: &StoredObject,
    content: CopyText,
) -> Result<Vec<u8>, OpenError> {
    let mut reader = open_rows(bytes, identity, object, content)?;
    let mut raw = Vec::new();
    let read = reader.read_to_end(&mut raw).map_err(|error| OpenError::from_io(&object.key, error));
    if read.is_err() {
        let again = reader.read(&mut [0; 1]).map_err(|error| OpenError::from_io(&object.key, error));
        assert!(again.is_err(), "after an error a read said {again:?}");
    }
    read.map(|_| raw)
}

pub(crate) fn found_by(read: Result<Vec<u8>, OpenError>) -> Detector {
    match read {
        Err(OpenError::Integrity { key, found_by, .. }) => {
            assert_eq!(key, "wedsync/part-1");
            found_by
        }
        other => panic!("not found to be corrupt: {:?}", other.map(|raw| raw.len())),
    }
}

pub(crate) fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

/// Encrypts any bytes for the backup as age alone would.
pub(crate) fn age_of(identity: &BackupIdentity, inner: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = identity.recipient().to_string().parse().unwrap();
    age::encrypt(&recipient, inner).unwrap()
}

pub(crate) fn zstd_of(raw: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}
