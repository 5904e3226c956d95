//! Memory for the sessions that build indexes and check foreign keys.

use crate::address::Address;
use crate::connect;
use crate::session::Session;
use keepsake_steps::ports::TargetError;

/// A half of what the server caches in, at most 1 GiB, shared by the jobs; never less than the server's own setting,
/// which by default is 64 MB: then a sort of a large table goes over the disk, and a GIN index is built in many passes.
const KIBIBYTES: &str = "
    SELECT GREATEST(pg_size_bytes(current_setting('maintenance_work_mem')),
                    LEAST(pg_size_bytes('1GB'), pg_size_bytes(current_setting('shared_buffers')) / 2) / $1) / 1024";

/// The address with that memory asked for. A pooler may refuse sessions that ask for a setting; then it stays as it was.
pub(super) async fn for_indexes(
    address: Address,
    session: &Session,
    jobs: u32,
) -> Result<Address, TargetError> {
    let act = "read how much memory the server has";
    let kibibytes: i64 = session.one(act, KIBIBYTES, &[&i64::from(jobs)]).await?.get(0);
    let roomy = address.with_setting("maintenance_work_mem", &format!("{kibibytes}kB"));
    Ok(if connect::accepts(&roomy).await { roomy } else { address })
}
