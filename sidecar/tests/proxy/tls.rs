//! Clients that speak TLS. The certificate beside this file is for these tests alone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tollgate_sidecar::config::{Config, Tls};
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, PATIENCE, Peer, proxy, upstream};

pub(crate) fn file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxy/certificate").join(name)
}

/// A client that offers these protocols.
pub(crate) fn connect(address: SocketAddr, protocols: &[&[u8]]) -> StreamOwned<ClientConnection, TcpStream> {
    connect_trusting("cert.pem", address, protocols).unwrap()
}

/// The same, if it is shown this certificate.
fn connect_trusting(
    certificate: &str,
    address: SocketAddr,
    protocols: &[&[u8]],
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(certificate)).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = ClientConnection::new(Arc::new(config), "shop.example".try_into().unwrap()).unwrap();
    let mut both = StreamOwned::new(client, stream);
    both.flush()?;
    Ok(both)
}

/// A certificate is renewed in its place, and no line of the file changes.
#[test]
fn a_reload_reads_the_certificate_anew() {
    let folder = std::env::temp_dir().join(format!("tollgate-certificate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let put = |cert: &str, key: &str| {
        std::fs::copy(file(cert), folder.join("cert.pem")).unwrap();
        std::fs::copy(file(key), folder.join("key.pem")).unwrap();
    };
    put("cert.pem", "key.pem");
    let mut config =
        Config::new("127.0.0.1:0".parse().unwrap(), format!("http://{}", Echo::start().address).parse().unwrap());
    config.admin = None;
    config.tls = Some(Tls::new(folder.join("cert.pem"), folder.join("key.pem")));
    let proxy = Proxy::start(config.clone()).unwrap();
    let shows = |certificate: &str| connect_trusting(certificate, proxy.address(), &[]).is_ok();
    let mut before = connect(proxy.address(), &[]);
    assert_eq!((shows("cert.pem"), shows("cert-next.pem")), (true, false));
    put("cert-next.pem", "key-next.pem");
    assert_eq!(proxy.reload(&config).unwrap().told, ["tls: there is another certificate"]);
    assert!(proxy.reload(&config).unwrap().is_empty());
    assert_eq!((shows("cert.pem"), shows("cert-next.pem")), (false, true));
    // Who was connected stays.
    before.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = before.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    std::fs::remove_dir_all(&folder).unwrap();
}

fn tls(config: &mut Config) {
    config.tls = Some(Tls::new(file("cert.pem"), file("key.pem")));
}

#[test]
fn requests_come_over_tls_and_the_upstream_is_told() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, tls);
    let mut client = connect(proxy.address(), &[b"http/1.1"]);
    client.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\nx-forwarded-proto: https\n"), "{answer}");
    assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn http2_is_agreed_on_in_the_handshake() {
    let proxy = proxy(Echo::start().address, tls);
    let mut client = connect(proxy.address(), &[b"h2", b"http/1.1"]);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    client.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
    assert_eq!(client.conn.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let proxy = proxy(Echo::start().address, |config| {
        tls(config);
        config.deadlines.header = Duration::from_millis(100);
    });
    Peer::connect(proxy.address()).expect_end();
    let mut plain = Peer::connect(proxy.address());
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(!matches!(plain.try_response(), Ok(Some(message)) if message.status() == 200));
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let start = |cert: &str, key: &str| {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "http://localhost:1".parse().unwrap());
        config.tls = Some(Tls::new(file(cert), file(key)));
        config.admin = None;
        Proxy::start(config).unwrap_err().to_string()
    };
    for (cert, key, said) in [
        ("missing.pem", "key.pem", "missing.pem: No such file or directory (os error 2); give the file that there is"),
        ("cert.pem", "missing.pem", "missing.pem: No such file"),
        ("key.pem", "key.pem", "key.pem holds no certificate: give a file of PEM"),
        ("cert.pem", "cert.pem", "cert.pem holds no private key, or an encrypted one: give a file of PEM"),
        ("cert.pem", "key-next.pem", "key-next.pem is not the key of the certificate in "),
    ] {
        let told = start(cert, key);
        assert!(told.contains(said) && !told.contains('\n'), "{told}");
    }
}

/// What waits in TLS for a client that reads slowly is sent, though nothing comes behind it.
#[test]
fn a_slow_client_gets_the_end_of_a_long_response() {
    const LONG: usize = 3_000_000;
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n{}", "z".repeat(LONG));
        while let Ok(Some(_)) = peer.read_request() {
            let _ = peer.send(&response);
        }
    });
    let proxy = proxy(address, tls);
    let mut client = connect(proxy.address(), &[]);
    socket2::SockRef::from(&client.sock).set_recv_buffer_size(64 * 1024).unwrap();
    for more in ["", "", "", "TE: trailers\r\nConnection: te\r\n", "TE: trailers\r\nConnection: te\r\n", ""] {
        client.write_all(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{more}\r\n").as_bytes()).unwrap();
        let (mut came, mut head) = (Vec::new(), None);
        while head.is_none_or(|head| came.len() < head + LONG) {
            let mut buffer = [0; 4096];
            let len = client.read(&mut buffer).expect("the rest of it");
            assert!(len > 0, "it ended after {} bytes", came.len());
            came.extend_from_slice(&buffer[..len]);
            head = head.or_else(|| came.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4));
        }
    }
}
