//! The seal at a manifest's end: a digest that finds every accident, and a MAC that finds every forger who has not the
//! backup's key.
//!
//! The seal is the last field, in one fixed form, in this format version and in all later ones:
//!
//! ```text
//!   "seal": {
//!     "mac": "…",
//!     "sha256": "…"
//!   }
//! }
//! ```
//!
//! `sha256` is over every byte before its own line: `head -n -3 manifest.json | sha256sum` shows it. `mac` is
//! HMAC-SHA256 by the [`SealKey`] over the SHA-256 of every byte before the seal's first line.

use crate::{BackupIdentity, ManifestError};
use age::secrecy::ExposeSecret;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

const SEAL_LINE: &str = "  \"seal\": {\n    \"mac\": \"";
const DIGEST_LINE: &str = "\",\n    \"sha256\": \"";
const END: &str = "\"\n  }\n}\n";
const HEX: usize = 64;
const SEAL_BYTES: usize = SEAL_LINE.len() + HEX + DIGEST_LINE.len() + HEX + END.len();

/// Separates this use of the backup's key from every other.
const PURPOSE: &[u8] = b"keepsake manifest seal 1";

/// What seals one backup's manifest, derived from the private half of its key pair. It opens nothing: a run keeps it
/// from the drawing of the key to the writing of the manifest, while the private half is gone. JSON shape: 64
/// hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealKey([u8; 32]);

impl SealKey {
    fn mac(&self, body_sha256: &[u8; 32]) -> Hmac<Sha256> {
        keyed(&self.0).chain_update(body_sha256)
    }
}

impl BackupIdentity {
    /// The key that seals this backup's manifest; the same at each call.
    #[must_use]
    pub fn seal_key(&self) -> SealKey {
        let secret = self.expose_secret();
        let mac = keyed(secret.expose_secret().as_bytes()).chain_update(PURPOSE);
        SealKey(mac.finalize().into_bytes().into())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl From<SealKey> for String {
    fn from(key: SealKey) -> Self {
        hex::encode(key.0)
    }
}

impl TryFrom<String> for SealKey {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut key = [0; 32];
        hex::decode_to_slice(zeroize::Zeroizing::new(text).as_bytes(), &mut key)?;
        Ok(Self(key))
    }
}

/// The seal of a manifest that was read and whose digest fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestSeal {
    mac: [u8; 32],
    body_sha256: [u8; 32],
}

impl ManifestSeal {
    /// Reads the seal and compares the manifest with its own digest; `None` when there is no seal in its place.
    pub(crate) fn read(key: &str, bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        let Some((body, seal)) = bytes.len().checked_sub(SEAL_BYTES).map(|end| bytes.split_at(end)) else {
            return Ok(None);
        };
        let Some((mac, sha256)) = fields(seal) else { return Ok(None) };
        let mut hasher = Sha256::new_with_prefix(body);
        let body_sha256: [u8; 32] = hasher.clone().finalize().into();
        hasher.update(&seal[..SEAL_BYTES - END.len() - HEX - DIGEST_LINE.len() + "\",\n".len()]);
        let found: [u8; 32] = hasher.finalize().into();
        if found == sha256 {
            return Ok(Some(Self { mac, body_sha256 }));
        }
        let reason = format!("SHA-256 {} instead of {}", hex::encode(found), hex::encode(sha256));
        Err(ManifestError::Changed { key: key.to_owned(), reason })
    }

    /// Whether the manifest was sealed with this key: by the run that drew the backup's key pair, or by someone who
    /// can open the backup.
    ///
    /// # Errors
    /// [`ManifestError::Forged`].
    pub fn check(&self, key: &str, seal_key: &SealKey) -> Result<(), ManifestError> {
        let fits = seal_key.mac(&self.body_sha256).verify_slice(&self.mac);
        fits.map_err(|_| ManifestError::Forged { key: key.to_owned() })
    }
}

/// MAC and digest of a seal in exactly its form.
fn fields(seal: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let seal = seal.strip_prefix(SEAL_LINE.as_bytes())?.strip_suffix(END.as_bytes())?;
    let (mac, rest) = seal.split_at_checked(HEX)?;
    Some((digits(mac)?, digits(rest.strip_prefix(DIGEST_LINE.as_bytes())?)?))
}

/// Lower case only: one digest has one text.
fn digits(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_lower = !text.iter().any(u8::is_ascii_uppercase);
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// Puts the seal behind a JSON object as `serde_json` prints it for people.
pub(crate) fn seal(mut json: Vec<u8>, seal_key: &SealKey) -> Vec<u8> {
    // The object's own end, `\n}`, goes behind the seal.
    json.truncate(json.len().saturating_sub("\n}".len()));
    json.extend_from_slice(b",\n");
    let mac = seal_key.mac(&Sha256::digest(&json).into()).finalize().into_bytes();
    json.extend_from_slice(SEAL_LINE.as_bytes());
    json.extend_from_slice(hex::encode(mac).as_bytes());
    let (before, own) = DIGEST_LINE.split_at("\",\n".len());
    json.extend_from_slice(before.as_bytes());
    let sha256 = hex::encode(Sha256::digest(&json));
    for piece in [own, &sha256, END] {
        json.extend_from_slice(piece.as_bytes());
    }
    json
}

#[cfg(test)]
#[path = "manifest_seal_tests.rs"]
mod tests;
