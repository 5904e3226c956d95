//! The function `restore`; see [`keepsake_functions::handlers::restore`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("restore", keepsake_functions::handlers::restore).await
}
