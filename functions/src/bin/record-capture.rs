//! The function `record-capture`; see [`keepsake_functions::handlers::record_capture`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("record-capture", keepsake_functions::handlers::record_capture).await
}
