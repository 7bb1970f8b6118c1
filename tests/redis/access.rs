//! What the documentation says of a server's users.

use tollgate::redis::RedisLimiter;

use crate::patient;
use crate::server::{Server, Value};

/// The documented rights are enough for all that a limiter does.
#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_all() {
    let Some(server) = Server::start() else { return };
    let documentation = include_str!("../../src/redis/mod.rs");
    let (_, text) = documentation.split_once("redis-cli ACL SETUSER").expect("it is documented");
    let (text, _) = text.split_once("```").expect("it ends");
    let words = text.split_whitespace().map(|word| word.trim_matches('\''));
    let words = words.filter(|word| !["//!", "\\"].contains(word));
    let command: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
    let mut raw = server.raw();
    assert_eq!(raw.ask(&command), Value::Text("OK".to_owned()));
    let url = format!("redis://tollgate:PASSWORD@127.0.0.1:{}", server.port());
    assert_eq!(raw.ask(&["ACL", "SETUSER", "tollgate", "+info"]), Value::Text("OK".to_owned()));
    let leasing =
        RedisLimiter::builder(&patient(&url), "leased", crate::policy("1000/second")).leases(1).try_build().unwrap();
    leasing.check("alice").await.unwrap();
    assert_eq!(leasing.store().stats().failures, 0);
    // What is sent before a call for a key on the move.
    let asking = ["ACL", "DRYRUN", "tollgate", "ASKING"];
    assert_ne!(raw.ask(&asking), Value::Text("OK".to_owned()));
    assert_eq!(raw.ask(&["ACL", "SETUSER", "tollgate", "+asking"]), Value::Text("OK".to_owned()));
    assert_eq!(raw.ask(&asking), Value::Text("OK".to_owned()));
    assert_eq!(raw.ask(&["ACL", "SETUSER", "tollgate", "-info"]), Value::Text("OK".to_owned()));
    let limiter = RedisLimiter::new(&patient(&url), "api", crate::policy("10/day; 5/hour strict")).unwrap();
    limiter.check("alice").await.unwrap();
    limiter.reserve("alice", 3).await.unwrap().settle(1).await.unwrap();
    limiter.refund("alice", 1).await.unwrap();
    assert_eq!(limiter.peek("alice").await.unwrap().remaining(), 4);
    limiter.reset("alice").await.unwrap();
    let stats = limiter.store().stats();
    assert_eq!((stats.failures, stats.round_trips), (0, 6), "{stats:?}");
}
