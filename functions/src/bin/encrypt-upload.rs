//! The function `encrypt-upload`; see [`keepsake_functions::handlers::encrypt_upload`].

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    keepsake_functions::serve("encrypt-upload", keepsake_functions::handlers::encrypt_upload).await
}
