//! [`Acceptor`]: speaks TLS with clients, and shows them the certificate.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::{Tls, unreadable};

/// Speaks TLS with clients. Clones show the same certificate.
#[derive(Clone)]
pub(super) struct Acceptor {
    tls: TlsAcceptor,
    chain: Arc<[CertificateDer<'static>]>,
}

impl Acceptor {
    /// Reads the two files. What is wrong is said with the file's name.
    pub(super) fn new(tls: &Tls) -> io::Result<Self> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let chain = CertificateDer::pem_file_iter(&tls.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(told(&tls.cert, &error, "certificate")))?;
        if chain.is_empty() {
            return Err(wrong(told(&tls.cert, &pem::Error::NoItemsFound, "certificate")));
        }
        let key = PrivateKeyDer::from_pem_file(&tls.key)
            .map_err(|error| wrong(told(&tls.key, &error, "private key, or an encrypted one")))?;
        let (shown, key_file) = (chain.clone().into(), tls.key.display());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    wrong(format!("{key_file} is not the key of the certificate in {}", tls.cert.display()))
                }
                error => wrong(format!("{key_file}: {error}")),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)), chain: shown })
    }

    /// Whether both show the same certificate.
    pub(super) fn shows_as(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.tls.accept(stream).await
    }
}

/// What is wrong with a file that should hold this in the form of PEM.
fn told(file: &Path, error: &pem::Error, what: &str) -> String {
    let name = file.display();
    match error {
        pem::Error::Io(error) => unreadable(file, error),
        pem::Error::NoItemsFound => {
            format!("{name} holds no {what}: give a file of PEM, in which it begins with -----BEGIN")
        }
        error => format!("{name} is not PEM: {error}"),
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
