//! The function `replicate`; see [`keepsake_functions::handlers::replicate`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("replicate", keepsake_functions::handlers::replicate).await
}
