//! Class and explanation of each error: what a person at night needs beside the error itself.

use crate::{
    Detector, InvalidName, InvalidRecipient, KeyError, ManifestError, OpenError, SealError, SegmentError,
    StrangeMessage, TornRow,
};
use keepsake_domain::{Classified, Explanation, FailureClass};

fn explanation(at_risk: &str, next: impl Into<String>) -> Explanation {
    Explanation { at_risk: at_risk.to_owned(), next: next.into() }
}

impl Classified for ManifestError {
    fn class(&self) -> FailureClass {
        match self {
            Self::UnknownVersion { .. } => FailureClass::Permanent,
            Self::Damaged { .. }
            | Self::Changed { .. }
            | Self::Forged { .. }
            | Self::Unlinked { .. }
            | Self::Contradiction { .. } => FailureClass::Integrity,
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::Forged { .. } | Self::Unlinked { .. } => explanation(
                "someone who may write to this repository changed what the backup claims to hold, or swapped its \
                 key file; copies that they cannot write to are not affected",
                "restore nothing from here; run `keepsake verify --repo URL` with the key on each copy, restore \
                 from one that passes, and find out who can write here",
            ),
            Self::UnknownVersion { .. } => explanation(
                "nothing: the backup is probably good, this program is too old or too new for it",
                "use the keepsake version that the backup's README names or a newer one; delete nothing",
            ),
            Self::Damaged { .. } | Self::Changed { .. } | Self::Contradiction { .. } => explanation(
                "this backup cannot be restored from this repository; other backups and copies are not affected",
                "run `keepsake verify --repo URL` on each copy, restore from one that passes, and keep the evidence",
            ),
        }
    }
}

impl Classified for OpenError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Integrity { .. } | Self::WrongKey { .. } => FailureClass::Integrity,
            Self::Read { .. } | Self::AlreadyFailed { .. } => FailureClass::Transient,
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::Integrity { found_by: Detector::Rows, .. } => explanation(
                "the object is stored as it was written, and yet its rows are not those of the manifest",
                "do not use what was restored; restore another backup and report this with both manifests",
            ),
            Self::Integrity { .. } => explanation(
                "this copy of the backup is damaged; other copies and other backups are not affected",
                "do not use what was restored; run `keepsake verify --repo URL --deep` on each copy and restore \
                 from one that passes",
            ),
            Self::WrongKey { .. } => explanation(
                "the object is whole but belongs to another backup's key: it was swapped, or the key file was",
                "compare the recipient in the manifest with the key file; restore from another copy",
            ),
            Self::Read { .. } | Self::AlreadyFailed { .. } => explanation(
                "nothing: the repository failed to deliver, the backup is as it was",
                "run it again; if it fails again, check the network and the rights on the repository",
            ),
        }
    }
}

impl Classified for SealError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Torn(_) | Self::Sink(_) | Self::AlreadyFailed => FailureClass::Transient,
            Self::Encode(_) | Self::Encrypt(_) | Self::Level(_) => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let at_risk = "this run made no backup; earlier backups are not affected";
        match self {
            Self::Torn(_) => explanation(at_risk, "check that the source is up, and run the backup again"),
            Self::Sink(_) | Self::AlreadyFailed => explanation(
                at_risk,
                "run the backup again; if it fails again, check space and rights of the repository",
            ),
            Self::Level(_) => explanation(at_risk, "set a compression level between 1 and 19"),
            Self::Encode(_) | Self::Encrypt(_) => explanation(
                at_risk,
                "check the memory of the machine, run again, and report it if it repeats",
            ),
        }
    }
}

impl Classified for TornRow {
    fn class(&self) -> FailureClass {
        FailureClass::Transient
    }

    fn explanation(&self) -> Explanation {
        explanation(
            "this read is not complete and must not be used",
            "check that the server is up, and run again",
        )
    }
}

impl Classified for KeyError {
    fn class(&self) -> FailureClass {
        match self {
            Self::NotAnIdentity
            | Self::NotAnIdentityFile { .. }
            | Self::NoHolders { .. }
            | Self::NotAHolder { .. }
            | Self::UnknownVersion { .. }
            | Self::LastGeneration { .. }
            | Self::Wrap { .. } => FailureClass::Permanent,
            Self::Damaged { .. }
            | Self::Contradiction { .. }
            | Self::DamagedHolder { .. }
            | Self::Foreign { .. } => FailureClass::Integrity,
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::NotAnIdentity | Self::NotAnIdentityFile { .. } => explanation(
                "nothing yet: the file that was given is not a recovery key",
                "give the file that `keepsake keygen` or `age-keygen` wrote; one under a passphrase must be \
                 opened with `age -d` first",
            ),
            Self::NotAHolder { holders, .. } => explanation(
                "nothing yet: the backup is good, but this key does not open it",
                format!("use the key of one of: {}", holders.join(", ")),
            ),
            Self::NoHolders { .. } => explanation(
                "no backup is made that nobody could read; earlier backups are not affected",
                "configure a KMS key or a recovery recipient (`keepsake keygen`), and run again",
            ),
            Self::UnknownVersion { .. } => explanation(
                "nothing: this program is too old or too new for the key file",
                "use the keepsake version that the backup's README names or a newer one; delete nothing",
            ),
            Self::LastGeneration { .. } | Self::Wrap { .. } => explanation(
                "the key's present holders can still open the backup",
                "check the recovery recipient",
            ),
            Self::Damaged { .. }
            | Self::Contradiction { .. }
            | Self::DamagedHolder { .. }
            | Self::Foreign { .. } => explanation(
                "the backup cannot be opened with this key file; its data may be whole",
                "try another holder, another generation under `keys/`, or another copy of the backup; delete nothing",
            ),
        }
    }
}

impl Classified for SegmentError {
    fn class(&self) -> FailureClass {
        match self {
            Self::UnknownVersion { .. } => FailureClass::Permanent,
            Self::Damaged { .. } => FailureClass::Integrity,
        }
    }

    fn explanation(&self) -> Explanation {
        match self {
            Self::UnknownVersion { .. } => explanation(
                "nothing: the segment is probably good, this program is too old for it",
                "use a newer keepsake; delete nothing",
            ),
            Self::Damaged { .. } => explanation(
                "changes from this segment on cannot be restored from this repository; full backups and copies are \
                 not affected",
                "do not use what was restored; restore to a point before it, or from a copy that passes keepsake \
                 verify --deep",
            ),
        }
    }
}

impl Classified for StrangeMessage {
    fn class(&self) -> FailureClass {
        FailureClass::Permanent
    }

    fn explanation(&self) -> Explanation {
        explanation(
            "changes from here on are not captured; the server keeps them in its log, which grows meanwhile",
            "use a keepsake that knows this server's version; watch the slot's retained bytes meanwhile",
        )
    }
}

impl Classified for InvalidRecipient {
    fn class(&self) -> FailureClass {
        FailureClass::Permanent
    }

    fn explanation(&self) -> Explanation {
        explanation("nothing: no backup was begun", "give the public key that `keepsake keygen` printed")
    }
}

impl Classified for InvalidName {
    fn class(&self) -> FailureClass {
        FailureClass::Permanent
    }

    fn explanation(&self) -> Explanation {
        explanation("nothing: no backup was begun", "give the source a name of a-z, 0-9, - and _")
    }
}
