//! Failures as state machines see them: the class is the error's name.

use crate::MissingSetting;
use keepsake_domain::{Classified, FailureClass, InvalidConnectionUrl, chain};
use keepsake_steps::StepError;
use keepsake_steps::ports::{CatalogError, RepositoryError, SecretsError};
use lambda_runtime::Diagnostic;

/// Text of a failure that goes into execution history and catalog; Step Functions keeps 32,768 characters of a cause.
const TEXT_LIMIT: usize = 4_000;

/// Why a function failed.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The template forgot a setting.
    #[error(transparent)]
    Setting(#[from] MissingSetting),
    /// The event is not what the state machine must send.
    #[error("the event does not fit this function")]
    Event(#[source] serde_json::Error),
    /// It took longer than the function may run.
    #[error(
        "the function was not done when its time was over, most likely because a service answered slowly: the log has \
         what it did last. What it did stands, and the next try goes on behind it"
    )]
    OutOfTime,
    /// A secret held no connection URL.
    #[error(transparent)]
    Connection(#[from] InvalidConnectionUrl),
}

macro_rules! through_step {
    ($($port:ty),*) => {$(
        impl From<$port> for FunctionError {
            fn from(error: $port) -> Self {
                Self::Step(error.into())
            }
        }
    )*};
}
through_step!(
    CatalogError,
    RepositoryError,
    SecretsError,
    keepsake_steps::ports::TargetError,
    keepsake_steps::ports::SourceError
);

impl FunctionError {
    /// What a caller can do.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Step(error) => error.class(),
            Self::OutOfTime => FailureClass::Transient,
            Self::Setting(_) | Self::Event(_) | Self::Connection(_) => FailureClass::Permanent,
        }
    }

    /// The whole chain of causes, and for steps what is at risk and what to do, at most 4,000 characters.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = chain(self);
        if let Self::Step(step) = self {
            let explanation = step.explanation();
            text.push_str(&format!(". At risk: {}. Next: {}", explanation.at_risk, explanation.next));
        }
        text.chars().take(TEXT_LIMIT).collect()
    }
}

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        Self { error_type: error.class().error_name().to_owned(), error_message: error.text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_machine_sees_the_class_as_the_errors_name() {
        let held = CatalogError::NotFound { what: "policy nightly".into() };
        let diagnostic = Diagnostic::from(FunctionError::from(held));
        assert_eq!(diagnostic.error_type, "Keepsake.Permanent");
        assert!(diagnostic.error_message.contains("keepsake catalog apply"), "{}", diagnostic.error_message);
    }

    #[test]
    fn a_forgotten_setting_names_the_variable() {
        let error = FunctionError::from(MissingSetting("KEEPSAKE_WORK_BUCKET"));
        assert!(error.text().contains("KEEPSAKE_WORK_BUCKET"));
    }
}
