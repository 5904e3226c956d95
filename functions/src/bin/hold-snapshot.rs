//! The function `hold-snapshot`; see [`keepsake_functions::handlers::hold`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("hold-snapshot", keepsake_functions::handlers::hold).await
}
