//! [`Acceptor`]: speaks TLS with clients, and shows them the certificate.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::config::Tls;

/// Speaks TLS with clients. Clones show the same certificate.
#[derive(Clone)]
pub(super) struct Acceptor {
    tls: TlsAcceptor,
    chain: Arc<[CertificateDer<'static>]>,
}

impl Acceptor {
    /// Reads the two files. What is wrong is said with the file's name.
    pub(super) fn new(tls: &Tls) -> io::Result<Self> {
        let wrong = |path: &Path, what: &dyn fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(&tls.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&tls.cert, &error))?;
        if chain.is_empty() {
            return Err(wrong(&tls.cert, &"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, &error))?;
        let shown = chain.clone().into();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&tls.key, &error))?;
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

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
