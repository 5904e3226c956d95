//! What is known of an object's bytes as they lie in a repository: length, SHA-256 and CRC-32.

use crate::{Detector, OpenError, StoredObject};
use sha2::{Digest, Sha256};

/// Counts and hashes stored bytes as they go by, in constant memory.
#[derive(Clone, Default)]
pub struct StoredHasher {
    sha256: Sha256,
    crc32: crc32fast::Hasher,
    stored_bytes: u64,
}

impl StoredHasher {
    /// The next bytes of the object.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        self.stored_bytes += bytes.len() as u64;
    }

    /// Bytes so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// What the manifest says of an object with these bytes.
    #[must_use]
    pub fn finish(self, key: impl Into<String>) -> StoredObject {
        StoredObject {
            key: key.into(),
            stored_bytes: self.stored_bytes,
            sha256: hex::encode(self.sha256.finalize()),
            crc32: self.crc32.finalize(),
        }
    }

    /// Compares with what the manifest says. Callers that copy or verify an object without opening it use this.
    ///
    /// # Errors
    /// [`OpenError::Integrity`], naming the first of length, SHA-256 and CRC-32 that differs.
    pub fn check(self, expected: &StoredObject) -> Result<(), OpenError> {
        let found = self.finish(expected.key.clone());
        let differs = |found_by, detail| Err(OpenError::integrity(&expected.key, found_by, detail));
        if found.stored_bytes != expected.stored_bytes {
            let detail = format!("{} bytes instead of {}", found.stored_bytes, expected.stored_bytes);
            return differs(Detector::StoredLength, detail);
        }
        if found.sha256 != expected.sha256 {
            let detail = format!("SHA-256 {} instead of {}", found.sha256, expected.sha256);
            return differs(Detector::StoredSha256, detail);
        }
        if found.crc32 != expected.crc32 {
            let detail = format!("CRC-32 {:08x} instead of {:08x}", found.crc32, expected.crc32);
            return differs(Detector::StoredCrc32, detail);
        }
        Ok(())
    }
}

impl StoredObject {
    /// Describes an object that is held in memory, for example the README.
    #[must_use]
    pub fn of_bytes(key: impl Into<String>, bytes: &[u8]) -> Self {
        let mut hasher = StoredHasher::default();
        hasher.update(bytes);
        hasher.finish(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &StoredObject) -> Result<(), OpenError> {
        let mut hasher = StoredHasher::default();
        bytes.chunks(2).for_each(|piece| hasher.update(piece));
        hasher.check(expected)
    }

    #[test]
    fn the_known_digests_of_a_known_text_come_out() {
        let object = StoredObject::of_bytes("k", b"123456789");
        assert_eq!(object.crc32, 0xCBF4_3926);
        assert_eq!(object.sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        assert_eq!(object.stored_bytes, 9);
    }

    #[test]
    fn each_of_length_sha256_and_crc32_is_compared() {
        let good = StoredObject::of_bytes("k", b"wedding");
        assert!(check(b"wedding", &good).is_ok());
        let found_by = |bytes: &[u8], expected: &StoredObject| match check(bytes, expected) {
            Err(OpenError::Integrity { found_by, .. }) => Some(found_by),
            _ => None,
        };
        assert_eq!(found_by(b"weddin", &good), Some(Detector::StoredLength));
        assert_eq!(found_by(b"weddinG", &good), Some(Detector::StoredSha256));
        let other_crc32 = StoredObject { crc32: good.crc32 ^ 1, ..good.clone() };
        assert_eq!(found_by(b"wedding", &other_crc32), Some(Detector::StoredCrc32));
    }
}
