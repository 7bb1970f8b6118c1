//! Servers that speak TLS.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tollgate::Quota;
use tollgate::redis::{RedisLimiter, RedisStore, SetupError};

use crate::server::{Server, free_port, program};

/// Makes an authority and a server's certificate, with the `openssl` that every CI has.
fn certificates(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("openssl is there").success(), "openssl {arguments}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt");
}

#[tokio::test]
async fn a_server_that_speaks_tls_is_asked_if_its_authority_is_trusted() {
    let Some(_) = program() else { return };
    let folder = std::env::temp_dir().join(format!("tollgate-tls-{}", std::process::id()));
    certificates(&folder);
    let port = free_port();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key, authority) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let tls_port = port.to_string();
    let arguments = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = Server::start_with(&arguments) else { return };
    let url = format!("rediss://localhost:{port}");
    let pem = std::fs::read(&authority).unwrap();
    let builder = RedisStore::builder(&url).deadline(Duration::from_secs(20));
    let store = builder.clone().root_certificates(pem.clone()).try_build().unwrap();
    let limiter = RedisLimiter::new(&store, "api", Quota::per_day(2)).unwrap();
    store.connect().await.unwrap();
    assert_eq!(limiter.check("alice").await.unwrap().status().remaining(), 1);
    assert_eq!(limiter.stats().round_trips, 1);

    // The system does not trust it, and it is another host's certificate.
    let error = builder.try_build().unwrap().connect().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let other = RedisStore::builder(&format!("rediss://localhost.localdomain:{port}")).root_certificates(pem.clone());
    other.try_build().unwrap().connect().await.unwrap_err();

    for (url, pem) in [("redis://localhost", &pem[..]), ("rediss://localhost", b"nonsense")] {
        let error = RedisStore::builder(url).root_certificates(pem).try_build().unwrap_err();
        assert_eq!(error, SetupError::Tls, "{url}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
