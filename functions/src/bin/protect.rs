//! The function `protect`; see [`keepsake_functions::handlers::protect`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("protect", keepsake_functions::handlers::protect).await
}
