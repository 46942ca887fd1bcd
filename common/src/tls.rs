//! TLS of the connections that the tiers open or accept themselves; that of Kafka is librdkafka's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

/// A file of certificates or of a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {path}: {why}", path = path.display())]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// The settings of a client that trusts the authorities in `ca_file` (PEM), or Mozilla's if the path is empty.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn client(ca_file: &Path) -> Result<ClientConfig, Unusable> {
    Ok(trusting(ca_file)?.with_no_client_auth())
}

/// The same for a client that identifies itself by the certificates and the key of these files (PEM).
///
/// # Errors
/// When a file cannot be read or holds nothing of the kind, or the key does not belong to the certificate.
pub fn client_with(
    ca_file: &Path,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<ClientConfig, Unusable> {
    let chain = certificates(certificate_file)?;
    let failed = |why: String| Unusable { path: key_file.to_owned(), why };
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| failed(error.to_string()))?;
    let config = trusting(ca_file)?.with_client_auth_cert(chain, key);
    config.map_err(|error| failed(error.to_string()))
}

fn trusting(ca_file: &Path) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Unusable> {
    let failed = |why: String| Unusable { path: ca_file.to_owned(), why };
    let mut roots = RootCertStore::empty();
    if ca_file.as_os_str().is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        for certificate in certificates(ca_file)? {
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots))
}

/// The certificates of a file, of which there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let failed = |why: String| Unusable { path: path.to_owned(), why };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(certificates)
}

/// The settings of a server that shows the certificates in `certificate_file`, its own first, whose key is in `key_file` (PEM
/// both).
///
/// # Errors
/// When a file cannot be read, or the two do not belong together.
pub fn server(certificate_file: &Path, key_file: &Path) -> Result<ServerConfig, Unusable> {
    let certificates = certificates(certificate_file)?;
    let failed = |why: String| Unusable { path: key_file.to_owned(), why };
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| failed(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| failed(error.to_string()))
}
