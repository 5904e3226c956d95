//! The function `probe-rpo`; see [`keepsake_functions::handlers::probe_rpo`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("probe-rpo", keepsake_functions::handlers::probe_rpo).await
}
