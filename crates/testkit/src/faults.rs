//! Faults by script: the n-th operation on a port goes wrong in a chosen way.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How one operation goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is done and a failure is reported.
    Refuse,
    /// It is done and a failure is reported: the everyday timeout of a function.
    DoAndReportFailure,
    /// It is done; the answer comes only when the gate opens.
    HoldAnswer(Gate),
    /// It is done; the answer comes this much later.
    AnswerLate(Duration),
}

/// Opens once, for everyone who waits.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Lets all answers go, those that wait and those to come.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until the gate is open.
    pub async fn passed(&self) {
        let mut state = self.open.subscribe();
        // The sender lives in `self`, so the wait can only end by opening.
        let _ = state.wait_for(|open| *open).await;
    }
}

/// The failure that a script reports.
#[derive(Debug, thiserror::Error)]
#[error("scripted fault in operation {index}: {operation}")]
pub struct ScriptedFault {
    /// Number of the operation, from 0.
    pub index: usize,
    /// The operation, for example `put_new a/b`.
    pub operation: String,
}

#[derive(Debug, Default)]
struct Script {
    at: BTreeMap<usize, Fault>,
    at_call: BTreeMap<(String, usize), Fault>,
    calls: BTreeMap<String, usize>,
    refuse_from: Option<usize>,
    operations: Vec<String>,
}

/// A script of faults, shared by all ports that take their turns from it. Operations are counted from 0 as they begin.
#[derive(Debug, Default)]
pub struct Faults {
    script: Mutex<Script>,
}

impl Faults {
    /// No faults: everything passes and is counted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault to the operation of that number.
    #[must_use]
    pub fn at(self, index: usize, fault: Fault) -> Self {
        self.lock().at.insert(index, fault);
        self
    }

    /// Adds a fault to the call of that number, from 0, of one kind of operation: the first word of its text. Tasks that
    /// race change the order of operations, but seldom how often each kind is called.
    #[must_use]
    pub fn at_call(self, kind: &str, call: usize, fault: Fault) -> Self {
        self.lock().at_call.insert((kind.to_owned(), call), fault);
        self
    }

    /// Refuses that operation and all later ones: the process lost its network.
    #[must_use]
    pub fn refuse_from(self, index: usize) -> Self {
        self.lock().refuse_from = Some(index);
        self
    }

    /// The operations so far, in the order in which they began.
    #[must_use]
    pub fn operations(&self) -> Vec<String> {
        self.lock().operations.clone()
    }

    /// How often each kind of operation was called so far.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.lock().calls.clone()
    }

    /// How many operations there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().operations.len()
    }

    /// Takes the next turn: carries `act` out, or not, as the script says. `failure` makes the port's own error.
    ///
    /// # Errors
    /// What `act` returns, or the scripted failure.
    pub async fn around<T, E>(
        &self,
        operation: String,
        act: impl Future<Output = Result<T, E>> + Send,
        failure: impl FnOnce(ScriptedFault) -> E + Send,
    ) -> Result<T, E> {
        let (index, fault) = self.next_turn(&operation);
        let scripted = ScriptedFault { index, operation };
        match fault {
            None => act.await,
            Some(Fault::Refuse) => Err(failure(scripted)),
            Some(Fault::DoAndReportFailure) => act.await.and_then(|_| Err(failure(scripted))),
            Some(Fault::HoldAnswer(gate)) => {
                let answer = act.await;
                gate.passed().await;
                answer
            }
            Some(Fault::AnswerLate(span)) => {
                let answer = act.await;
                tokio::time::sleep(span).await;
                answer
            }
        }
    }

    fn next_turn(&self, operation: &str) -> (usize, Option<Fault>) {
        let mut script = self.lock();
        let index = script.operations.len();
        script.operations.push(operation.to_owned());
        let kind = operation.split(' ').next().unwrap_or_default().to_owned();
        let count = script.calls.entry(kind.clone()).or_default();
        let call = (kind, std::mem::replace(count, *count + 1));
        let refused = script.refuse_from.is_some_and(|from| index >= from);
        let scripted = || script.at.get(&index).or_else(|| script.at_call.get(&call)).cloned();
        let fault = if refused { Some(Fault::Refuse) } else { scripted() };
        (index, fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
