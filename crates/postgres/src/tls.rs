//! TLS as libpq's `sslmode` means it.

use crate::address::{Address, TlsMode};
use crate::error::ConnectError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a function's layer or image puts the providers' root certificates.
const LAYER_CERTIFICATES: &str = "/opt/certs";
/// Debian's and Ubuntu's bundle, then Amazon Linux's.
const SYSTEM_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The driver's TLS for this address.
pub(crate) fn client_config(address: &Address) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |said: String| ConnectError::permanent("prepare TLS", &address.place, said);
    let lenient = |authorities| Arc::new(Lenient { provider: provider.clone(), authorities });
    let checks: Arc<dyn ServerCertVerifier> = match address.tls {
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => lenient(None),
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let roots = Arc::new(roots(address).map_err(failed)?);
            let full = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| failed(error.to_string()))?;
            if address.tls == TlsMode::VerifyFull { full } else { lenient(Some(full)) }
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(checks)
        .with_no_client_auth();
    Ok(config)
}

/// The one file that child processes get: libpq takes no folder.
pub(crate) fn root_file(address: &Address) -> Option<PathBuf> {
    if !matches!(address.tls, TlsMode::VerifyCa | TlsMode::VerifyFull) {
        return None;
    }
    root_files(address).into_iter().next()
}

fn root_files(address: &Address) -> Vec<PathBuf> {
    if let Some(given) = &address.root_certificates {
        return vec![given.clone()];
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(LAYER_CERTIFICATES)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pem"));
    files.sort();
    files.extend(SYSTEM_CERTIFICATES.iter().map(PathBuf::from).filter(|file| file.exists()));
    files
}

fn roots(address: &Address) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for file in root_files(address) {
        add_file(&mut store, &file)?;
    }
    if store.is_empty() {
        Err("no root certificates are here; name a file by sslrootcert".to_owned())
    } else {
        Ok(store)
    }
}

fn add_file(store: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let unreadable =
        |error: rustls::pki_types::pem::Error| format!("cannot read {}: {error}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        // A system bundle may hold roots that webpki does not take; the others count.
        let _ = store.add(certificate.map_err(unreadable)?);
    }
    Ok(())
}

/// Asks less of a server than its certificate and name together: without authorities it trusts whoever answers
/// (`prefer` and `require` of libpq), with them it trusts their certificates for any host (`verify-ca`).
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        // Webpki compares the name last, after the chain was found good.
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
