//! Serves one handler to the Lambda runtime.

use crate::{App, FunctionError, telemetry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::Instrument;

/// Of a function's time, what is kept to say that it was not enough: a function that Lambda kills tells neither class nor
/// text. Writing a log line and an answer takes milliseconds.
const FOR_THE_ANSWER: Duration = Duration::from_secs(2);

/// Runs until Lambda ends the process: reads each event, runs the handler under a span with the run's ids, and logs
/// a failure once, with its whole chain.
///
/// # Errors
/// When the runtime API cannot be reached.
pub async fn serve<I, O, H, F>(name: &'static str, handler: H) -> Result<(), Error>
where
    I: DeserializeOwned,
    O: Serialize,
    H: Fn(Arc<App>, I) -> F,
    F: Future<Output = Result<O, FunctionError>>,
{
    telemetry::start_logging();
    let app = Arc::new(App::load().await);
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let app = Arc::clone(&app);
        let span = telemetry::invocation_span(name, &event.context.request_id, &event.payload);
        let deadline = event.context.deadline();
        let time =
            deadline.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(FOR_THE_ANSWER);
        invoke(handler, app, event.payload, time).instrument(span)
    }))
    .await
}

/// Lets the handler run for `time`. What it was doing then is dropped, as it would be by Lambda, only with an error that
/// says so; the process lives on, and its connections look whether they still answer before they are used again.
async fn invoke<A, I, O, H, F>(
    handler: &H,
    app: A,
    payload: Value,
    time: Duration,
) -> Result<Value, FunctionError>
where
    I: DeserializeOwned,
    O: Serialize,
    H: Fn(A, I) -> F,
    F: Future<Output = Result<O, FunctionError>>,
{
    let outcome = async {
        let input = serde_json::from_value(payload).map_err(FunctionError::Event)?;
        // Boxed: a handler's future is deep, and its layout would be computed again in every binary.
        let output = Box::pin(handler(app, input));
        let output = tokio::time::timeout(time, output).await.unwrap_or(Err(FunctionError::OutOfTime))?;
        serde_json::to_value(output).map_err(FunctionError::Event)
    };
    let outcome = outcome.await;
    match &outcome {
        Ok(_) => tracing::info!("invocation completed"),
        Err(error) => tracing::error!(class = %error.class(), error = error.text(), "invocation failed"),
    }
    outcome
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use keepsake_domain::FailureClass;

    #[tokio::test]
    async fn a_function_that_runs_out_of_time_says_so_itself_and_is_tried_again() {
        let stalled = |(): (), (): ()| std::future::pending::<Result<(), FunctionError>>();
        let late = invoke(&stalled, (), Value::Null, Duration::ZERO).await.unwrap_err();
        assert_eq!(late.class(), FailureClass::Transient);
        assert!(late.text().contains("its time was over"), "{}", late.text());

        let prompt = |(): (), (): ()| std::future::ready(Ok(7));
        assert_eq!(invoke(&prompt, (), Value::Null, Duration::ZERO).await.unwrap(), 7);
    }
}
