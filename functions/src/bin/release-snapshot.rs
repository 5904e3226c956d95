//! The function `release-snapshot`; see [`keepsake_functions::handlers::release`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("release-snapshot", keepsake_functions::handlers::release).await
}
