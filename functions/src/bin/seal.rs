//! The function `seal`; see [`keepsake_functions::handlers::seal`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("seal", keepsake_functions::handlers::seal).await
}
