//! Limits that are counted in Redis: a key is known there by its text.
#![cfg(unix)]

use tollgate_sidecar::config::{Config, KeyPart, Overrides, read};

use crate::desk::{Desk, header, limit};
use crate::redis::Redis;
use crate::world::eventually;

/// Counted in this Redis.
fn desk(redis: &Redis) -> Desk {
    let file = format!(
        "listen = \"127.0.0.1:1\"\nupstream = \"http://localhost:9\"\n[store]\nredis = \"redis://127.0.0.1:{}\"\ndeadline = \"1s\"\n",
        redis.port
    );
    let with_store: Config = read("a.toml", file.as_bytes(), &Overrides::default()).unwrap();
    Desk::start(|config| {
        config.store = with_store.store.clone();
        config.offenders = 5;
        config.limits.push(limit("user", "1/day", &[KeyPart::Address, header("x-user")]));
    })
}

#[test]
fn a_reset_is_for_all_replicas() {
    let Some(redis) = Redis::start() else { return };
    let (desk, other) = (desk(&redis), desk(&redis));
    let fields = "x-user: s3cr3t\r\n";
    assert_eq!((desk.through(fields), other.through(fields)), (200, 429));
    // The one who denied it knows whom, and either can look at the account.
    let page = other.get("/").body();
    assert!(page.contains("Redis: answers") && page.contains("127.0.0.1 + #") && !page.contains("s3cr3t"), "{page}");
    assert!(page.contains("for all replicas, through Redis"), "{page}");
    let stats = other.stats();
    assert_eq!((&stats["store"]["is_up"], &stats["limits"][0]["denied"]), (&true.into(), &1.into()));
    let most = &stats["limits"][0]["most_denied"][0];
    assert!(most["free"].as_str().is_some_and(|free| free.starts_with("at most 86")), "{most}");
    assert!(page.contains("at most 24 h"), "{page}");
    let key = most["key"].as_str().unwrap().to_owned();
    let peeked = desk.get(&format!("/peek?limit=user&key={key}"));
    assert_eq!(peeked.status(), 200);
    let peeked: serde_json::Value = serde_json::from_str(&peeked.body()).unwrap();
    assert_eq!(peeked["plans"][0]["quotas"][0]["remaining"], 0);
    let text = desk.get(&format!("/key?limit=user&key={key}")).body();
    assert!(text.contains("A request passes in at most 24 h"), "{text}");
    // Found by its value as well.
    let found = desk.post("/find", "limit=user&client=127.0.0.1&part-1=s3cr3t");
    assert_eq!(found.field("location"), Some(&*format!("/key?limit=user&key={}", key.replace(':', "%3A"))));
    assert_eq!(desk.post("/reset", &format!("limit=user&key={key}")).status(), 303);
    // Who had denied it remembers that for a moment.
    eventually("it passes again", || other.through(fields) == 200);
    assert_eq!(desk.through(fields), 429);
    assert_eq!(desk.post("/reset", "limit=user&key=127.0.0.1").status(), 404, "that has too few parts");
}

#[test]
fn a_store_that_is_away_is_said() {
    let Some(mut redis) = Redis::start() else { return };
    let desk = desk(&redis);
    assert_eq!(desk.through("x-user: a\r\n"), 200);
    redis.kill();
    eventually("that is noticed", || {
        desk.through("x-user: b\r\n");
        desk.get("/").body().contains("Redis: down.</span> It stopped answering ")
    });
    let page = desk.get("/").body();
    assert!(page.contains("Meanwhile this proxy counts by itself, with its share of each limit."), "{page}");
    let stats = desk.stats();
    assert_eq!(stats["store"]["is_up"], false);
    assert!(stats["store"]["down_since"].as_u64().unwrap() > 1_700_000_000);
    let found = desk.post("/find", "limit=user&client=127.0.0.1&part-1=a");
    let answer = desk.get(found.field("location").unwrap());
    assert_eq!(answer.status(), 503);
    assert!(answer.body().contains("Redis did not answer"), "{}", answer.body());
    redis.restart();
    eventually("it is back", || {
        desk.through("x-user: c\r\n");
        desk.get("/").body().contains("Redis: answers")
    });
}
