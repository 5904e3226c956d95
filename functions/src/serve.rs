//! Serves one handler to the Lambda runtime.

use crate::{App, FunctionError, telemetry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use tracing::Instrument;

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
        invoke(handler, app, event.payload).instrument(span)
    }))
    .await
}

async fn invoke<I, O, H, F>(handler: &H, app: Arc<App>, payload: Value) -> Result<Value, FunctionError>
where
    I: DeserializeOwned,
    O: Serialize,
    H: Fn(Arc<App>, I) -> F,
    F: Future<Output = Result<O, FunctionError>>,
{
    let outcome = async {
        let input = serde_json::from_value(payload).map_err(FunctionError::Event)?;
        // Boxed: a handler's future is deep, and its layout would be computed again in every binary.
        let output = Box::pin(handler(app, input)).await?;
        serde_json::to_value(output).map_err(FunctionError::Event)
    };
    let outcome = outcome.await;
    match &outcome {
        Ok(_) => tracing::info!("invocation completed"),
        Err(error) => tracing::error!(class = %error.class(), error = error.text(), "invocation failed"),
    }
    outcome
}
