//! What is shown, as JSON, for programs on this machine.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tollgate::Standing;

use super::history::{EVERY, RATE_OVER};
use super::view::{Free, View};

/// All that the page has.
pub(super) fn all(view: &View, token: &str) -> Value {
    let limits = view.rules.iter().map(|rule| {
        let offenders = view.offenders.iter().filter(|offender| offender.rule == rule.name).map(|offender| {
            json!({
                "key": offender.text,
                "shown": offender.shown,
                "denied_per_second": offender.per_second,
                "too_high_by_at_most": offender.overestimate,
                "free": free(offender.free),
            })
        });
        json!({
            "name": rule.name,
            "line": rule.line,
            "limit": rule.limit,
            "about": rule.about,
            "key": rule.key,
            "state": rule.state,
            "allowed": rule.totals.allowed,
            "denied": rule.totals.denied,
            "shadow_denied": rule.totals.shadow,
            "near_limit": rule.totals.near,
            "per_second": {
                "allowed": rule.rate.allowed,
                "denied": rule.rate.denied,
                "shadow_denied": rule.rate.shadow,
            },
            "near": rule.rate.near,
            "keys": rule.keys.map(|(keys, _)| keys),
            "keys_capacity": rule.keys.map(|(_, most)| most),
            "most_denied": offenders.collect::<Vec<_>>(),
        })
    });
    let history: Vec<Value> =
        (view.history.iter()).map(|span| json!([span.ended.as_secs(), span.rate.allowed, span.rate.denied])).collect();
    let refused = view.config.refused.as_ref();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": view.host,
        "up_seconds": view.up_for.as_secs(),
        "requests": { "allowed": view.totals.allowed, "denied": view.totals.denied },
        "per_second": { "allowed": view.rate.allowed, "denied": view.rate.denied, "over_seconds": RATE_OVER.as_secs() },
        "limits": limits.collect::<Vec<_>>(),
        "keys_kept_of_those_most_denied": view.kept,
        "config": {
            "in_force_since": unix(view.config.since),
            "newer_one_refused": refused.map(|refused| json!({ "at": unix(refused.at), "why": refused.problems })),
        },
        "store": view.store.as_ref().map(|store| json!({
            "is_up": store.down_since.is_none(),
            "down_since": store.down_since.map(unix),
        })),
        "history": { "every_seconds": EVERY.as_secs(), "seconds_ago_allowed_denied": history },
        "token": token,
    })
}

/// Where one key stands, by each plan of its limit.
pub(super) fn key(rule: &str, text: &str, shown: &str, plans: &[(String, Standing, Free)]) -> Value {
    let plans = plans.iter().map(|(plan, standing, when)| {
        let quotas = standing.iter().map(|status| {
            json!({
                "quota": status.quota(),
                "limit": status.limit(),
                "remaining": status.remaining(),
                "whole_again_seconds": status.reset_after().as_secs_f64(),
            })
        });
        json!({ "plan": plan, "free": free(*when), "quotas": quotas.collect::<Vec<_>>() })
    });
    json!({ "limit": rule, "key": text, "shown": shown, "plans": plans.collect::<Vec<_>>() })
}

/// Seconds, or words where there is no number.
fn free(free: Free) -> Value {
    match free {
        Free::Now => json!(0.0),
        Free::In(wait) => json!(wait.as_secs_f64()),
        Free::Within(wait) => json!(format!("at most {}", wait.as_secs_f64())),
        Free::Never => json!("never"),
        Free::ByPlan => json!("by plan"),
        Free::Unknown => Value::Null,
    }
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
