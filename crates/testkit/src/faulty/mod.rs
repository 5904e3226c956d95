//! Every port with the faults of a script: the n-th call goes wrong in a chosen way.
//!
//! Operations are named as `Leases.renew`, so that a script can aim at the n-th call of each.

mod connections;
mod ports;

pub use connections::{
    FaultyChangeApplier, FaultyChangeStream, FaultyHeldSnapshot, FaultyRowReader, FaultyRowWriter,
};

use crate::{Faults, ScriptedFault};
use keepsake_steps::ports::{
    CatalogError, InstancesError, KeyHolderError, NoticesError, SecretsError, SourceError, TargetError,
};
use std::sync::Arc;

/// A port with the faults of a script. A scripted failure is the port's own transient error.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    faults: Arc<Faults>,
}

impl<P: ?Sized> Faulty<P> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<P>, faults: &Arc<Faults>) -> Self {
        Self { inner, faults: Arc::clone(faults) }
    }
}

/// A port's own error for a scripted failure.
trait OfScript {
    fn of_script(fault: ScriptedFault) -> Self;
}

impl OfScript for CatalogError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self::Unavailable { act: fault.operation.clone(), cause: Box::new(fault) }
    }
}

impl OfScript for SourceError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self::Unreachable { place: "the source".to_owned(), cause: Box::new(fault) }
    }
}

impl OfScript for TargetError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self::Unreachable { place: "the target".to_owned(), cause: Box::new(fault) }
    }
}

impl OfScript for KeyHolderError {
    fn of_script(fault: ScriptedFault) -> Self {
        let key_id = "the key".to_owned();
        Self::Unavailable { key_id, act: fault.operation.clone(), cause: Box::new(fault) }
    }
}

impl OfScript for SecretsError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self::Unavailable { reference: "the secret".to_owned(), cause: Box::new(fault) }
    }
}

impl OfScript for InstancesError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self::Unavailable { act: fault.operation.clone(), cause: Box::new(fault) }
    }
}

impl OfScript for NoticesError {
    fn of_script(fault: ScriptedFault) -> Self {
        Self { topic: "the topic".to_owned(), transient: true, cause: Box::new(fault) }
    }
}
