//! The function `dump`; see [`keepsake_functions::handlers::dump_database`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("dump", keepsake_functions::handlers::dump_database).await
}
