//! The function `provision-instance`; see [`keepsake_functions::handlers::provision`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("provision-instance", keepsake_functions::handlers::provision).await
}
