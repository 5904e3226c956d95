//! The function `record-failure`; see [`keepsake_functions::handlers::record_failure`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("record-failure", keepsake_functions::handlers::record_failure).await
}
