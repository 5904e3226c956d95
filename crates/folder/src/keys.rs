use keepsake_steps::ports::RepositoryError;
use std::path::{Path, PathBuf};

/// Where unfinished objects stand, below the repository's folder.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Why a key has no path.
#[derive(Debug, thiserror::Error)]
#[error(
    "a key is one or more names divided by single slashes, none of them \".\" or \"..\", the first not \"{UNFINISHED}\""
)]
struct InvalidKey;

/// The path of a key below `root`; a key that could lead elsewhere has none.
pub(crate) fn path_of(root: &Path, url: &str, key: &str) -> Result<PathBuf, RepositoryError> {
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    let is_key = key.split('/').all(is_name) && key.split('/').next() != Some(UNFINISHED);
    if is_key {
        return Ok(root.join(key));
    }
    Err(RepositoryError::Refused {
        url: url.to_owned(),
        act: format!("use \"{}\" as a key", key.escape_debug()),
        cause: Box::new(InvalidKey),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_folder_or_into_the_unfinished() {
        let root = Path::new("/backups");
        for key in
            ["", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "..", ".", "a/./b", "a\0b", ".unfinished/a"]
        {
            let refused = path_of(root, "file:///backups", key);
            assert!(matches!(refused, Err(RepositoryError::Refused { .. })), "{key:?}: {refused:?}");
        }
        for key in ["a", "a/.unfinished", "..a/b..", ".hidden"] {
            assert_eq!(path_of(root, "file:///backups", key).expect(key), root.join(key));
        }
    }
}
