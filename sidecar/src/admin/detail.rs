//! The pages of one limit and of one key.

use std::fmt::Write as _;
use std::time::SystemTime;

use tollgate::Standing;

use super::html::{Query, Text, thousands, time};
use super::keys::{KnownKey, fields};
use super::page::{ago, frame, reach, reset_form};
use super::table::{self, Number, Words};
use super::view::{Free, Reset};
use crate::config::Limit;

const BACK: &str = "<nav aria-label=\"Pages\"><a href=\"/\">Overview</a></nav>";

/// A limit, and how to find one of its keys. What was wrong with what was typed is said first.
pub(super) fn limit(host: Option<&str>, limit: &Limit, token: &str, wrong: Option<&str>) -> String {
    let mut main = format!(
        "<h2>{}</h2><p>{} for {}, on {}.</p>",
        Text(&limit.name),
        Text(&limit.policy.to_string()),
        Text(&limit.key.to_string()),
        Text(&limit.scope.to_string())
    );
    if let Some(wrong) = wrong {
        let _ = write!(main, "<p class=\"bad\" role=\"alert\">{}</p>", Text(wrong));
    }
    let fields = fields(limit);
    let _ = write!(
        main,
        "<h2>Look up a key</h2><form method=\"post\" action=\"/find\" autocomplete=\"off\">\
         <input type=\"hidden\" name=\"limit\" value=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{token}\">",
        Text(&limit.name)
    );
    if fields.is_empty() {
        main.push_str("<p>All requests have one key together.</p>");
    }
    for (name, label) in fields {
        let _ = write!(main, "<label>{}<input name=\"{name}\" spellcheck=\"false\"></label>", Text(&label));
    }
    main.push_str("<button>Look up</button></form>");
    frame(&limit.name, host, BACK, &main)
}

/// Where a key stands, by each plan of its limit, and its last reset.
#[derive(Debug)]
pub(super) struct Stands<'a> {
    pub(super) limit: &'a str,
    pub(super) found: &'a KnownKey,
    pub(super) plans: &'a [(String, Standing, Free)],
    pub(super) is_in_store: bool,
    pub(super) reset: Option<&'a Reset>,
    pub(super) now: SystemTime,
}

/// A key, and the button that resets it.
pub(super) fn key(host: Option<&str>, stands: &Stands<'_>, token: &str) -> String {
    let Stands { limit, found, plans, is_in_store, reset, now } = stands;
    let mut main = format!("<h2><bdi>{}</bdi></h2>", Text(&found.shown));
    if let Some(reset) = reset {
        let _ = write!(main, "<p role=\"status\">It was reset {}.</p>", ago(*now, reset.at));
    }
    let has_plans = plans.len() > 1;
    for (plan, _, free) in *plans {
        let passes = match free {
            Free::Now => "A request passes now".to_owned(),
            Free::In(wait) => format!("A request passes in {}", time(*wait)),
            Free::Within(wait) => format!("A request passes in at most {}", time(*wait)),
            Free::Never | Free::ByPlan | Free::Unknown => "No request ever passes".to_owned(),
        };
        let on = if has_plans { format!(" on plan {}", Text(plan)) } else { String::new() };
        let _ = write!(main, "<p>{passes}{on}.</p>");
    }
    let caption = format!("Where this key stands with <a href=\"/limit?name={}\">{}</a>", Query(limit), Text(limit));
    let columns = [Words("Plan"), Words("Quota"), Number("Left"), Number("Of"), Number("Whole again in")];
    main += "<div class=\"narrow\">";
    main += &table::open("Standing", &caption, &columns[usize::from(!has_plans)..]);
    for (plan, standing, _) in *plans {
        for status in standing.iter() {
            let plan = if has_plans { format!("<td>{}</td>", Text(plan)) } else { String::new() };
            let whole = if status.reset_after().is_zero() { "it is".to_owned() } else { time(status.reset_after()) };
            let _ = write!(
                main,
                "<tr>{plan}<th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{whole}</td></tr>",
                Text(status.quota()),
                thousands(status.remaining()),
                thousands(status.limit())
            );
        }
    }
    let _ = write!(
        main,
        "{}</div><p>Reset forgets what this key has spent with this limit, {}.</p>{}",
        table::CLOSE,
        reach(*is_in_store),
        reset_form(limit, &found.text, &found.shown, token)
    );
    frame(&found.shown, host, BACK, &main)
}

/// A page that says what is wrong.
pub(super) fn wrong(host: Option<&str>, title: &str, text: &str) -> String {
    frame(title, host, BACK, &format!("<h2>{}</h2><p>{}</p>", Text(title), super::html::Whole(text)))
}
