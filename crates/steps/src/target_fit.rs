//! Whether a server can hold a backup: asked by a restore's plan, and by the restore before it changes anything.

use crate::ports::TargetError;
use keepsake_archive::ServerFacts;
use serde::Serialize;

/// Why a restore into a server cannot work. JSON shape: both fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// What does not fit.
    pub reason: String,
    /// What a person can do.
    pub advice: String,
}

/// Everything that does not fit; nothing is asked of either server. `target.extensions` are those that it offers.
#[must_use]
pub fn misfits(backup: &ServerFacts, target: &ServerFacts) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let (have, need) = (target.server_version / 10_000, backup.server_version / 10_000);
    if have < need {
        misfits.push(Misfit {
            reason: format!("its server is of version {have}, the backup of version {need}"),
            advice: format!("restore to a server of version {need} or newer"),
        });
    }
    if target.encoding != backup.encoding && target.encoding != "UTF8" {
        misfits.push(Misfit {
            reason: format!("its encoding is {}, the backup's is {}", target.encoding, backup.encoding),
            advice: format!(
                "make the target with CREATE DATABASE … ENCODING '{}' TEMPLATE template0",
                backup.encoding
            ),
        });
    }
    let missing = backup.extensions.keys().filter(|name| !target.extensions.contains_key(*name));
    misfits.extend(missing.map(|name| Misfit {
        reason: format!("its server does not offer the extension {name}"),
        advice: format!("install {name} on the server, or restore to one that offers it"),
    }));
    misfits
}

/// Refuses a target for all its misfits at once.
///
/// # Errors
/// [`TargetError::Unsuitable`] when there is any.
pub fn refuse_misfits(place: &str, misfits: &[Misfit]) -> Result<(), TargetError> {
    if misfits.is_empty() {
        return Ok(());
    }
    let all = |text: fn(&Misfit) -> &str| misfits.iter().map(text).collect::<Vec<_>>().join("; ");
    Err(TargetError::Unsuitable {
        place: place.to_owned(),
        reason: all(|misfit| &misfit.reason),
        advice: all(|misfit| &misfit.advice),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn server(version: u32, encoding: &str, extensions: &[&str]) -> ServerFacts {
        let named = |name: &&str| ((*name).to_owned(), "1.0".to_owned());
        ServerFacts {
            server_version: version,
            encoding: encoding.to_owned(),
            collation: "C".to_owned(),
            ctype: "C".to_owned(),
            locale_provider: "libc".to_owned(),
            extensions: extensions.iter().map(named).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once_each_with_its_own_advice() {
        let backup = server(150_018, "UTF8", &["plpgsql", "postgis"]);
        let found = misfits(&backup, &server(140_001, "LATIN1", &["plpgsql"]));
        assert_eq!(found.len(), 3, "{found:?}");
        let refused = refuse_misfits("h/d", &found).expect_err("it does not fit").to_string();
        for text in ["version 14", "version 15", "LATIN1", "postgis"] {
            assert!(refused.contains(text), "\"{text}\" is not in: {refused}");
        }
        assert!(found[1].advice.contains("ENCODING 'UTF8'"), "{found:?}");
    }

    #[test]
    fn a_newer_server_in_utf8_with_more_extensions_fits() {
        let backup = server(140_001, "LATIN1", &["plpgsql"]);
        assert_eq!(misfits(&backup, &server(180_000, "UTF8", &["plpgsql", "postgis"])), []);
    }
}
