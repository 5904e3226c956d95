//! `keepsake keygen`: a recovery key, to be kept offline.

use crate::arguments::KeygenArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::private_file::write_new;
use crate::terminal::{note, print};
use keepsake_archive::{ExposeSecret, RecoveryKey};
use keepsake_domain::FailureClass;
use keepsake_steps::ports::Clock;

/// Runs `keepsake keygen`. With a file, standard output gets the public half alone; without one, the whole key file.
///
/// # Errors
/// When the file exists or cannot be written; then no key was kept anywhere.
pub fn keygen(context: &Context, arguments: &KeygenArguments) -> Result<(), Failure> {
    let key = RecoveryKey::generate(context.clock.now());
    let secret = key.file_text.expose_secret();
    let Some(path) = &arguments.out else {
        note(&format!("public key: {}", key.recipient));
        print(secret);
        return Ok(());
    };
    write_new(path, secret.as_bytes()).map_err(|cause| {
        Failure::found(
            FailureClass::Permanent,
            format!("cannot write key file {}: {cause}", path.display()),
            "no key was made; keys that exist are untouched",
            "name a file that does not exist yet, in a folder that you can write to",
        )
    })?;
    note("keep the file offline and twice: without it and without KMS, nobody can open the backups");
    print(&key.recipient.to_string());
    Ok(())
}
