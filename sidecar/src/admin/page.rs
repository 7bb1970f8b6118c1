//! The pages: HTML without scripts, which a keyboard, a screen reader and a narrow window can use.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::chart;
use super::history::{EVERY, RATE_OVER, Rate, Span};
use super::html::{Query, Text, Whole, percent, rate, spelt_to, time};
use super::table::{self, Number, Words};
use super::view::{DeniedKey, Free, Reset, RuleView, View};

pub(super) const STYLE: &str = include_str!("style.css");

/// How often a page comes again by itself, if that is asked for, in seconds.
pub(super) const REFRESH: u64 = 5;

/// A page around its contents.
pub(super) fn frame(title: &str, host: Option<&str>, nav: &str, main: &str) -> String {
    let host = host.map(|host| format!(" <span>{}</span>", Text(host))).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{} · tollgate</title><style>{STYLE}</style></head>\n\
         <body><header><h1>tollgate{host}</h1>{nav}</header>\n<main>{main}</main>\n</body></html>\n",
        Text(title)
    )
}

/// The page of everything.
pub(super) fn overview(view: &View, token: &str, refreshes: bool) -> String {
    let (state, class) = (state(view.rate), if view.is_denying() { " bad" } else { "" });
    let nav = match refreshes {
        false => {
            format!(
                "<nav aria-label=\"Refresh\">Refresh: <b aria-current=\"true\">off</b> / <a href=\"/?refresh={REFRESH}\">{REFRESH} s</a></nav>"
            )
        }
        true => format!(
            "<nav aria-label=\"Refresh\">Refresh: <a href=\"/\">off</a> / <b aria-current=\"true\">{REFRESH} s</b></nav>"
        ),
    };
    let mut main = format!("<p class=\"state{class}\">{state}</p>");
    config(&mut main, view);
    history(&mut main, view);
    limits(&mut main, &view.rules);
    offenders(&mut main, view, token);
    resets(&mut main, &view.resets, view.now);
    let _ = write!(
        main,
        "<footer><p>tollgate {}, up for {}. The same as JSON: <a href=\"/stats\">/stats</a></p></footer>",
        env!("CARGO_PKG_VERSION"),
        time(Duration::from_secs(view.up_for.as_secs()))
    );
    frame(&state, view.host.as_deref(), &nav, &main)
}

/// What happens to requests, in words.
fn state(Rate { allowed, denied }: Rate) -> String {
    match (allowed > 0.0, denied > 0.0) {
        (false, false) => "No requests now".to_owned(),
        (true, false) => format!("Denying none of {}/s", rate(allowed)),
        (_, true) => format!("Denying {}/s of {}/s", rate(denied), rate(allowed + denied)),
    }
}

fn config(main: &mut String, view: &View) {
    let ago = |at: SystemTime| ago(view.now, at);
    if let Some(store) = &view.store {
        let _ = match store.down_since {
            None => write!(main, "<p>Redis: answers. Limits are counted there, for all replicas together.</p>"),
            Some(since) => write!(
                main,
                "<p><span class=\"bad\">Redis: down.</span> It stopped answering {}. Meanwhile {}.</p>",
                ago(since),
                store.meanwhile
            ),
        };
    }
    match &view.config.refused {
        None => {
            let _ = write!(main, "<p>Configuration: taken up {}.</p>", ago(view.config.since));
        }
        Some(refused) => {
            let _ = write!(
                main,
                "<p><span class=\"bad\">Configuration: old.</span> A new file was refused {}. The old one, taken up {}, stays in force.</p>\
                 <details><summary>What is wrong with the new file</summary><pre>",
                ago(refused.at),
                ago(view.config.since)
            );
            for problem in refused.problems.iter().take(PROBLEMS_MAX) {
                let _ = writeln!(main, "{}", Whole(&spelt_to(problem, PROBLEM_MAX)));
            }
            main.push_str("</pre></details>");
        }
    }
}

/// How much is shown of what is wrong with a file.
const PROBLEMS_MAX: usize = 20;
const PROBLEM_MAX: usize = 400;

fn history(main: &mut String, view: &View) {
    let most = view.history.iter().map(|span| span.rate.allowed + span.rate.denied).fold(0.0, f64::max);
    let summary = format!(
        "At most {}/s in all. Now {}/s allowed and {}/s denied.",
        rate(most),
        rate(view.rate.allowed),
        rate(view.rate.denied)
    );
    let _ = write!(
        main,
        "<h2>Last 15 minutes</h2>{}<p class=\"note\"><span class=\"key a\"></span>allowed {}/s\
         <span class=\"key d\"></span>denied {}/s, on top</p>",
        chart::svg(&view.history, &summary),
        rate(view.rate.allowed),
        rate(view.rate.denied)
    );
    main.push_str("<details><summary>The same as a table</summary>");
    let columns = [Words("Minutes ago"), Number("Allowed/s"), Number("Denied/s")];
    *main += &table::open("By minute", "Requests per second, on the average of each minute", &columns);
    for minute in 0..15_u64 {
        let within = view.history.iter().filter(|span| span.ended.as_secs() / 60 == minute);
        let (mut spans, mut sum) = (0_u32, Rate::default());
        for Span { rate, .. } in within {
            spans += 1;
            sum = Rate { allowed: sum.allowed + rate.allowed, denied: sum.denied + rate.denied };
        }
        if spans > 0 {
            let each = f64::from(spans);
            let _ = write!(
                main,
                "<tr><th scope=\"row\">{minute} to {}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                minute + 1,
                rate(sum.allowed / each),
                rate(sum.denied / each)
            );
        }
    }
    let _ = write!(main, "{}<p class=\"note\">Counted every {} s.</p></details>", table::CLOSE, EVERY.as_secs());
}

fn limits(main: &mut String, rules: &[RuleView]) {
    main.push_str("<h2>Limits</h2>");
    if rules.is_empty() {
        main.push_str("<p>There is no limit: everything is forwarded.</p>");
        return;
    }
    let caption = format!(
        "The limits in force, per second over the last {} s. Near: the part of what was allowed that left less than a fifth of \
         the limit. A limit's name leads to its keys.",
        RATE_OVER.as_secs()
    );
    let columns = [
        Words("Rule"),
        Words("Limit"),
        Number("Allowed/s"),
        Number("Denied/s"),
        Number("Shadow/s"),
        Number("Near"),
        Number("Line"),
    ];
    *main += &table::open("Limits", &caption, &columns);
    for rule in rules {
        let dash = |number: String, is_there: bool| if is_there { number } else { "–".to_owned() };
        let _ = write!(
            main,
            "<tr><th scope=\"row\"><a href=\"/limit?name={}\">{}</a><small>{}</small></th>\
             <td>{}<small>{}, {}</small></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Query(&rule.name),
            Text(&rule.name),
            rule.state,
            Text(&rule.limit),
            Text(&rule.about),
            Text(&rule.key),
            rate(rule.rate.allowed),
            dash(rate(rule.rate.denied), !rule.is_shadow),
            dash(rate(rule.rate.shadow), rule.state != "enforced"),
            percent(rule.rate.near),
            rule.line.map_or("–".to_owned(), |line| line.to_string())
        );
    }
    main.push_str(table::CLOSE);
}

fn offenders(main: &mut String, view: &View, token: &str) {
    main.push_str("<h2>Most denied</h2>");
    if view.kept == 0 {
        main.push_str(
            "<p>The keys denied most are not kept: each denial would take a lock. \
             <code>offenders = 20</code> in the file, or <code>--offenders 20</code>, keeps 20 for each limit.</p>",
        );
        return;
    }
    let bound = format!(
        "An estimate in memory of a fixed size: the {} keys of each limit that were denied most, on the average of the last minutes, where \
         each minute counts half as much as the one after it. A rate is never too low. It is too high by at most what is said after it, \
         which is never more than all denials of the limit divided by {}.",
        view.kept, view.kept
    );
    if view.offenders.is_empty() {
        let _ = write!(main, "<p>Nobody was denied in the last minutes.</p><p class=\"note\">{bound}</p>");
        return;
    }
    let caption = format!(
        "{bound} <b>#9f3a11c0</b> stands for a value that may be secret. Reset forgets what a key has spent with the rule, {}.",
        reach(view.store.is_some())
    );
    let columns = [Words("Key"), Words("Rule"), Number("Denied/s"), Number("Free in"), Number("Reset")];
    *main += &table::open("Most denied", &caption, &columns);
    for offender in view.offenders.iter().take(SHOWN_MAX) {
        row(main, offender, token);
    }
    main.push_str(table::CLOSE);
    if view.offenders.len() > SHOWN_MAX {
        let _ = write!(
            main,
            "<p class=\"note\">{} more are in <a href=\"/stats\">/stats</a>.</p>",
            view.offenders.len() - SHOWN_MAX
        );
    }
}

/// How many of those denied most are on the page.
pub(super) const SHOWN_MAX: usize = 50;

fn row(main: &mut String, offender: &DeniedKey, token: &str) {
    let over = match offender.overestimate {
        none if none < 0.05 => String::new(),
        over => format!("<small>at most {} too high</small>", rate(over)),
    };
    let _ = write!(
        main,
        "<tr><th scope=\"row\"><a href=\"/key?limit={}&amp;key={}\"><bdi>{}</bdi></a></th><td>{}</td>\
         <td class=\"n\">{}{over}</td><td class=\"n\">{}</td><td class=\"end\">{}</td></tr>",
        Query(&offender.rule),
        Query(&offender.text),
        Text(&offender.shown),
        Text(&offender.rule),
        rate(offender.per_second),
        free(offender.free),
        reset_form(&offender.rule, &offender.text, &offender.shown, token)
    );
}

fn free(free: Free) -> String {
    match free {
        Free::Now => "now".to_owned(),
        Free::In(wait) => time(wait),
        Free::Within(wait) => format!("at most {}", time(wait)),
        Free::Never => "never".to_owned(),
        Free::ByPlan => "by plan".to_owned(),
        Free::Unknown => "–".to_owned(),
    }
}

/// Where a reset holds, in words.
pub(super) fn reach(is_in_store: bool) -> &'static str {
    if is_in_store { "for all replicas, through Redis" } else { "in this proxy alone" }
}

/// The form that resets a key.
pub(super) fn reset_form(rule: &str, text: &str, shown: &str, token: &str) -> String {
    format!(
        "<form method=\"post\" action=\"/reset\"><input type=\"hidden\" name=\"limit\" value=\"{}\">\
         <input type=\"hidden\" name=\"key\" value=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <button aria-label=\"Reset {} for {}\">Reset</button></form>",
        Whole(rule),
        Whole(text),
        Text(shown),
        Text(rule)
    )
}

fn resets(main: &mut String, resets: &[Reset], now: SystemTime) {
    if resets.is_empty() {
        return;
    }
    main.push_str("<h2>Resets</h2>");
    *main +=
        &table::open("Resets", "The last keys that were reset here", &[Words("Key"), Words("Rule"), Words("When")]);
    for reset in resets {
        let _ = write!(
            main,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td></tr>",
            Text(&reset.shown),
            Text(&reset.rule),
            ago(now, reset.at)
        );
    }
    main.push_str(table::CLOSE);
}

/// `12 s ago, at 14:02 UTC`.
pub(super) fn ago(now: SystemTime, at: SystemTime) -> String {
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (hour, minute) = (since_1970 / 3600 % 24, since_1970 / 60 % 60);
    let ago = Duration::from_secs(now.duration_since(at).unwrap_or_default().as_secs());
    let ago = if ago.is_zero() { "just now".to_owned() } else { format!("{} ago", time(ago)) };
    format!("{ago}, at {hour:02}:{minute:02} UTC")
}
