//! The example of two servers that share a limit through Redis.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use crate::client::{ask, soon};
use crate::examples::{example, run};

#[path = "../redis/server.rs"]
#[allow(dead_code, reason = "shared with tests/redis, which needs more of it")]
mod server;

use server::{Server, free_port};

#[tokio::test]
async fn two_servers_share_a_limit_and_each_has_half_without_redis() {
    let Some(mut redis) = Server::start() else { return };
    let addresses: [SocketAddr; 2] = [(); 2].map(|()| ([127, 0, 0, 1], free_port()).into());
    let [one, other] = addresses.map(|address| address.to_string());
    let arguments = ["--redis", &redis.url(), "--limit", "4 per day", "--listen", &one, "--listen", &other];
    let _servers = example("redis").args(arguments).spawn().unwrap();
    soon(async {
        for address in addresses {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
    let statuses = async || {
        let mut passed = 0;
        for n in 0..20 {
            let status = ask(addresses[n % 2], "GET /api/fib/1").await.status();
            assert!([StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{status}");
            passed += u32::from(status == StatusCode::OK);
        }
        passed
    };
    // What was not answered in time, on a busy machine, may have been charged, and was answered by a server's own half.
    let passed = statuses().await;
    assert!((4..=8).contains(&passed), "{passed}");
    redis.kill();
    let passed_then = statuses().await;
    assert!(passed + passed_then <= 8, "4 by the server, and then 2 by each: {passed}, {passed_then}");
}

#[tokio::test]
async fn without_a_server_the_example_says_what_is_missing() {
    let Some(_) = server::program() else { return };
    let url = format!("redis://:s3cr3t@127.0.0.1:{}", free_port());
    let output = run("redis", &["--redis", &url, "--listen", "127.0.0.1:0"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("redis-server") && !error.contains("s3cr3t"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
