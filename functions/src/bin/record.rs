//! The function `record`; see [`keepsake_functions::handlers::record`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("record", keepsake_functions::handlers::record).await
}
