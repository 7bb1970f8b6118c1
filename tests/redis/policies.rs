//! Policies that differ under one name: in two programs, on two plans, or one after the other.

use std::time::Duration;

use tollgate::Quota;
use tollgate::redis::{RedisLimiter, SetupError, WhenUnreachable};

use crate::server::{Server, free_port, program};
use crate::{limiter, patient, policy};

async fn left(limiter: &RedisLimiter) -> Vec<u64> {
    limiter.standing("alice").await.unwrap().iter().map(|status| status.remaining()).collect()
}

/// Two versions of a program, while one replaces the other.
#[tokio::test]
async fn programs_of_one_name_with_different_policies_grant_nothing_twice() {
    let Some(server) = Server::start() else { return };
    for (old, new) in [
        ("10/day", "20/day"),
        ("10/day", "20/hour fixed"),
        ("20/day sliding", "10/day strict"),
        ("10/day; 100/day sliding", "20/day"),
        ("login: 10/day", "20/hour; login: 10/day fixed"),
        ("100/hour; 10/day", "10/day; 100/hour"),
    ] {
        let name = format!("{old} and {new}");
        let (old, new) = (limiter(&server, &name, policy(old)), limiter(&server, &name, policy(new)));
        let mut passed = [0, 0];
        for _ in 0..20 {
            passed[0] += u32::from(old.check("alice").await.is_ok());
            passed[1] += u32::from(new.check("alice").await.is_ok());
        }
        assert!((10..=20).contains(&(passed[0] + passed[1])), "{name}: {passed:?}");
    }
}

/// A quota is found by its name, wherever it stands, and whatever stands beside it.
#[tokio::test]
async fn a_quota_goes_on_where_another_program_has_it_in_another_place() {
    let Some(server) = Server::start() else { return };
    let one = limiter(&server, "api", policy("burst: 10/hour fixed; daily: 100/day fixed"));
    let other = limiter(&server, "api", policy("weekly: 500/week fixed; daily: 100/day fixed; burst: 10/hour fixed"));
    let narrow = limiter(&server, "api", policy("daily: 100/day fixed"));
    one.check_n("alice", 3).await.unwrap();
    assert_eq!(left(&other).await, [500, 97, 7]);
    other.check_n("alice", 4).await.unwrap();
    assert_eq!(left(&one).await, [3, 93]);
    // One that has not all of them leaves the others alone.
    narrow.check_n("alice", 50).await.unwrap();
    narrow.refund("alice", 1).await.unwrap();
    assert_eq!(left(&other).await, [496, 44, 3]);
    assert_eq!(one.check_n("alice", 4).await.unwrap_err().status().quota(), "burst");
    // What it forgets is all there is.
    narrow.reset("alice").await.unwrap();
    assert_eq!(left(&other).await, [500, 100, 10]);
}

/// What nobody looks at goes on to be given back by time.
#[tokio::test]
async fn what_another_policy_has_spent_refills_meanwhile() {
    let Some(server) = Server::start() else { return };
    let wide = limiter(&server, "api", policy("slow: 100/day; quick: 50/second burst 10"));
    let narrow = limiter(&server, "api", policy("slow: 100/day"));
    wide.check_n("alice", 10).await.unwrap();
    let key = wide.redis_key("alice");
    assert_eq!(left(&wide).await[0], 90);
    for n in 1..=5 {
        narrow.check("alice").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(left(&narrow).await, [90 - n]);
    }
    assert_eq!(left(&wide).await, [85, 10], "{:?}", server.raw().ask(&["GET", &key]));
}

#[tokio::test]
async fn plans_may_have_more_quotas_or_fewer() {
    let Some(server) = Server::start() else { return };
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy("5/minute fixed; 100/day fixed"));
    let builder = builder
        .plan("pro", policy("1000/day fixed"))
        .plan("trial", policy("9/day fixed; 2/minute fixed; 20/week fixed"));
    let limiter = builder.try_build().unwrap();
    let on = |name: &str| limiter.on(limiter.plan(name).unwrap()).unwrap();
    let (pro, trial) = (on("pro"), on("trial"));
    limiter.check_n("alice", 2).await.unwrap();
    pro.check_n("alice", 6).await.unwrap();
    // By their periods.
    assert_eq!(left(&limiter).await, [3, 92]);
    assert_eq!(left(&trial).await, [1, 0, 20]);
    assert_eq!(left(&pro).await, [992]);
}

#[tokio::test]
async fn a_policy_is_replaced_by_one_of_another_width() {
    let Some(server) = Server::start() else { return };
    let builder = RedisLimiter::builder(&patient(&server.url()), "api", policy("5/minute fixed; 100/day fixed"));
    let limiter = builder.quotas(3).try_build().unwrap();
    limiter.check_n("alice", 4).await.unwrap();
    limiter.replace_policy(policy("50/day fixed")).unwrap();
    assert_eq!(left(&limiter).await, [46]);
    limiter.check_n("alice", 6).await.unwrap();
    limiter.replace_policy(policy("200/week fixed; 30/day fixed; 5/minute fixed")).unwrap();
    assert_eq!(left(&limiter).await, [200, 20, 1]);
    let error = limiter.replace_policy(policy("1/second; 2/minute; 3/hour; 4/day")).unwrap_err();
    assert!(matches!(error, SetupError::Plan(_)), "{error}");
    assert_eq!(left(&limiter).await, [200, 20, 1], "nothing has changed");
}

/// The share that a program enforces alone goes by the same names.
#[tokio::test]
async fn without_a_server_a_replaced_policy_goes_on_by_name_too() {
    let Some(_) = program() else { return };
    let store = patient(&format!("redis://127.0.0.1:{}", free_port()));
    let builder = RedisLimiter::builder(&store, "api", policy("5/minute fixed; daily: 100/day fixed"));
    let limiter = builder.when_unreachable(WhenUnreachable::local(1)).try_build().unwrap();
    limiter.check_n("alice", 4).await.unwrap();
    limiter.replace_policy(policy("daily: 10/day fixed; 9/minute fixed")).unwrap();
    let permit = limiter.check("alice").await.unwrap();
    assert_eq!((permit.status().quota(), permit.status().remaining()), ("9/minute", 4));
    let denied = limiter.check_n("alice", 6).await.unwrap_err();
    assert_eq!((denied.status().quota(), denied.status().limit()), ("daily", 10));
}

#[tokio::test]
async fn stores_with_different_prefixes_share_nothing() {
    let Some(server) = Server::start() else { return };
    let on = |prefix: &str| {
        let builder = tollgate::redis::RedisStore::builder(&server.url()).deadline(Duration::from_secs(20));
        let store = builder.prefix(prefix).try_build().unwrap();
        RedisLimiter::new(&store, "api", Quota::per_day(3)).unwrap()
    };
    let (shop, blog, shop_again) = (on("shop:"), on("blog:"), on("shop:"));
    shop.check_n("alice", 3).await.unwrap();
    assert!(blog.check_n("alice", 3).await.is_ok());
    assert!(shop_again.check("alice").await.is_err());
    assert_eq!(shop.redis_key("alice"), "shop:tollgate:api:{alice}");
    assert_eq!(server.raw().ask(&["EXISTS", "shop:tollgate:api:{alice}", "blog:tollgate:api:{alice}"]).int(), 2);
    assert_eq!(server.raw().ask(&["DBSIZE"]).int(), 2);
}

#[tokio::test]
async fn what_is_refunded_while_nothing_passes_forgets_no_more_than_that() {
    let Some(server) = Server::start() else { return };
    let limiter = limiter(&server, "api", policy("10/day"));
    limiter.check_n("a", 10).await.unwrap();
    limiter.replace_policy(policy("0/second")).unwrap();
    limiter.refund("a", 1).await.unwrap();
    limiter.replace_policy(policy("10/day")).unwrap();
    let left = limiter.peek("a").await.unwrap().remaining();
    assert!(left <= 1, "{left} are left");
}
