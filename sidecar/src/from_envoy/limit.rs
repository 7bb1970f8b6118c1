//! The filter `local_ratelimit`: a limit.

use http::{HeaderName, HeaderValue};
use tollgate::{Policy, Quota};

use super::fields::{Fields, Item, Report, duration, entries, text_of};
use crate::config::{Headers, Key, Limit, Percent, words};

/// What a filter says, of its limit and of the answers to those above it.
pub(super) struct Filter {
    pub(super) limit: Option<Limit>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) rate_headers: Headers,
}

/// Reads a filter's settings, given directly or in a `TypedStruct`.
pub(super) fn read(name: &str, mut settings: Fields<'_, '_>, report: &mut Report) -> Filter {
    let kind = settings.text("@type").unwrap_or_default();
    if kind.ends_with("TypedStruct") {
        settings.ignore(&["type_url"]);
        let inner = settings.fields("value", report);
        settings.finish(report);
        return match inner {
            Some(inner) => filter(name, inner, report),
            None => Filter { limit: None, headers: Vec::new(), rate_headers: Headers::None },
        };
    }
    filter(name, settings, report)
}

fn filter(name: &str, mut settings: Fields<'_, '_>, report: &mut Report) -> Filter {
    // The first names counters; the second is about several filters in one chain.
    settings.ignore(&["@type", "stat_prefix", "stage", "always_consume_default_token_bucket"]);
    let bucket = settings.fields("token_bucket", report);
    let limit = bucket.and_then(|bucket| policy(bucket, report)).map(|policy| {
        let mut limit = Limit::new(name, policy);
        limit.key = Key::global();
        limit
    });
    let enabled = share("filter_enabled", &mut settings, report);
    let enforced = share("filter_enforced", &mut settings, report);
    let limit = limit.map(|limit| Limit { enabled, enforced, ..limit });
    let mut headers = Vec::new();
    for item in settings.list("response_headers_to_add", report) {
        headers.extend(header(&item, report));
    }
    if let Some(mut status) = settings.fields("status", report) {
        let at = status.at();
        let code = status.text("code").unwrap_or_default();
        if !["429", "TooManyRequests", "TOO_MANY_REQUESTS"].contains(&code.as_str()) {
            report.say(at, "a denial is 429");
        }
        status.finish(report);
    }
    let mut rate_headers = Headers::None;
    if let Some(item) = settings.value("enable_x_ratelimit_headers")
        && item.text().as_deref() == Some("DRAFT_VERSION_03")
    {
        rate_headers = Headers::XRateLimitDelta;
    }
    if let Some(item) = settings.value("rate_limited_as_resource_exhausted")
        && item.text().as_deref() != Some("true")
    {
        report.say(item.at, "gRPC clients are always told RESOURCE_EXHAUSTED");
    }
    let mut limit = limit;
    if let Some(item) = settings.value("local_rate_limit_per_downstream_connection")
        && item.text().as_deref() == Some("true")
    {
        report.say(item.at, "connections are not counted by themselves: each client address has the limit instead");
        if let Some(limit) = &mut limit {
            limit.key = Key::address();
        }
    }
    for (field, why) in [
        ("descriptors", "write a limit for each: path, method, host and key say which requests it counts, and by what"),
        ("rate_limits", "write a limit for each: its key says what it counts by, as in key = \"header:x-user\""),
        (
            "request_headers_to_add_when_not_enforced",
            "requests are forwarded unchanged; a rehearsal is seen in the metrics",
        ),
        ("local_cluster_rate_limit", "to share a limit among replicas, count in Redis: [store] redis = \"redis://..\""),
    ] {
        if let Some(item) = settings.value(field) {
            report.say(item.at, why);
        }
    }
    settings.finish(report);
    Filter { limit, headers, rate_headers }
}

/// `tokens_per_fill` each `fill_interval`, and `max_tokens` at once.
fn policy(mut bucket: Fields<'_, '_>, report: &mut Report) -> Option<Policy> {
    let at = bucket.at();
    let most = bucket.number("max_tokens");
    let fill = bucket.number("tokens_per_fill").unwrap_or(1);
    let interval = bucket.text("fill_interval").and_then(|text| duration(&text));
    bucket.finish(report);
    let (Some(most), Some(interval)) = (most, interval) else {
        report.say(at, "needs max_tokens and fill_interval");
        return None;
    };
    let quota =
        Quota::new(fill, interval).and_then(|quota| if most == fill { Ok(quota) } else { quota.try_burst(most) });
    match quota {
        Ok(quota) => Some(Policy::from(quota)),
        Err(error) => {
            report.say(at, format!("cannot be kept: {error}"));
            None
        }
    }
}

/// `filter_enabled` and `filter_enforced`, which are 0 % unless given.
fn share(name: &'static str, settings: &mut Fields<'_, '_>, report: &mut Report) -> Percent {
    let Some(mut fields) = settings.fields(name, report) else { return Percent::NONE };
    let at = fields.at();
    if let Some(item) = fields.value("runtime_key")
        && report.runtime_can_change
    {
        report.say(item.at, "there are no runtime keys; the default was taken: change the file instead");
    }
    let mut percent = Percent::NONE;
    if let Some(mut value) = fields.fields("default_value", report) {
        let numerator = value.number("numerator").unwrap_or(0);
        let (scale, digits) = match value.text("denominator").as_deref() {
            None | Some("HUNDRED") => (1, 0),
            Some("TEN_THOUSAND") => (100, 2),
            Some("MILLION") => (10_000, 4),
            Some(other) => {
                report.say(value.at(), format!("the denominator {other} is not known"));
                (1, 0)
            }
        };
        value.finish(report);
        let (whole, rest) = (numerator / scale, numerator % scale);
        let text = if rest == 0 { format!("{whole}%") } else { format!("{whole}.{rest:0digits$}%") };
        match text.parse() {
            Ok(parsed) => percent = parsed,
            Err(_) => {
                report.say(at, "is more than all requests; all were taken");
                percent = Percent::ALL;
            }
        }
    }
    fields.finish(report);
    percent
}

/// A header of the answer.
fn header(item: &Item<'_, '_>, report: &mut Report) -> Option<(HeaderName, HeaderValue)> {
    let mut option = item.fields(report)?;
    // A denial has no such header before, so adding and replacing are one.
    option.ignore(&["append", "append_action", "keep_empty_value"]);
    let mut header = option.fields("header", report);
    option.finish(report);
    let header_fields = header.as_mut()?;
    let (name, value) = (header_fields.text("key")?, header_fields.text("value").unwrap_or_default());
    if let Some(fields) = header {
        fields.finish(report);
    }
    if value.contains('%') {
        report.say(item.at.clone(), "a header's value is text: nothing is put in for %NAMES%");
        return None;
    }
    match words::denial_header(&name, &value) {
        Ok(header) => Some(header),
        Err(what) => {
            report.say(item.at.clone(), what);
            None
        }
    }
}

/// Whether settings are those of this filter.
pub(super) fn is_one(name: &str, settings: &saphyr::MarkedYaml<'_>) -> bool {
    let told = |field: &str| {
        let entries = entries(settings);
        entries.iter().find(|entry| entry.name == field).and_then(|entry| text_of(entry.node)).unwrap_or_default()
    };
    name == NAME || told("@type").ends_with(TYPE) || told("type_url").ends_with(TYPE)
}

pub(super) const NAME: &str = "envoy.filters.http.local_ratelimit";
const TYPE: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
