//! The function `begin`; see [`keepsake_functions::handlers::begin`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("begin", keepsake_functions::handlers::begin).await
}
