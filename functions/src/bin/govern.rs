//! The function `govern`; see [`keepsake_functions::handlers::govern`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("govern", keepsake_functions::handlers::govern).await
}
