//! The function `verify-restore`; see [`keepsake_functions::handlers::verify`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("verify-restore", keepsake_functions::handlers::verify).await
}
