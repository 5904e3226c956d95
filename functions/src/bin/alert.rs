//! The function `alert`; see [`keepsake_functions::handlers::alert`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("alert", keepsake_functions::handlers::alert).await
}
