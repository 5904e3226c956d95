//! The function `capture`; see [`keepsake_functions::handlers::capture`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("capture", keepsake_functions::handlers::capture).await
}
