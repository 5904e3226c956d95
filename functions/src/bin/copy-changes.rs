//! The function `copy-changes`; see [`keepsake_functions::handlers::copy_changes`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("copy-changes", keepsake_functions::handlers::copy_changes).await
}
