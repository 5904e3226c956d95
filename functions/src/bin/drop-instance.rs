//! The function `drop-instance`; see [`keepsake_functions::handlers::drop_instance`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("drop-instance", keepsake_functions::handlers::drop_instance).await
}
