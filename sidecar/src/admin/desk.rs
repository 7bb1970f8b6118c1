//! [`Desk`]: who is asked. It reads a request, and writes the answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, REFRESH};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tollgate::{Plan, Quota, RateLimiter, Standing};

use super::Source;
use super::detail::{self, Stands};
use super::form::Form;
use super::guard::{Always, Refusal, Token, check_host, check_origin};
use super::history::{History, limits};
use super::html::{Query, spelt};
use super::keys::{Found, Keys};
use super::view::{Free, Reset, View, free};
use super::{page, stats, view};
use crate::config::Limit;
use crate::rules::Enforcer;

/// The most bytes of a form that are read.
const FORM_MAX: usize = 8 * 1024;

/// How many resets are remembered.
const RESETS_MAX: usize = 10;

/// How many requests are answered. It is more than a person makes, and little for the machine.
const PER_SECOND: Quota = Quota::per_second(20).burst(60);

/// Answers. It belongs to one thread.
#[derive(Debug)]
pub(super) struct Desk {
    source: Source,
    started: Instant,
    host: Option<String>,
    always: Always,
    token: Token,
    requests: RateLimiter,
    history: RefCell<History>,
    keys: RefCell<Keys>,
    resets: RefCell<VecDeque<Reset>>,
}

type Answer = Response<Full<Bytes>>;

impl Desk {
    /// `None` if the system has no random numbers for its token.
    pub(super) fn new(source: Source) -> Option<Self> {
        let desk = Self {
            source,
            started: Instant::now(),
            host: hostname(),
            always: Always::new(page::STYLE),
            token: Token::new()?,
            requests: RateLimiter::builder(PER_SECOND).capacity(1).build(),
            history: RefCell::new(History::new()),
            keys: RefCell::default(),
            resets: RefCell::default(),
        };
        desk.sample();
        Some(desk)
    }

    /// Remembers what has been counted by now.
    pub(super) fn sample(&self) {
        let (totals, limits) = ((self.source.totals)(), limits(&self.source.counters));
        self.history.borrow_mut().sample(Instant::now(), totals, limits);
    }

    /// Answers a request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let mut answer = match self.checked(&head, body).await {
            Ok(answer) => answer,
            Err((status, text)) => plain(status, text),
        };
        self.always.put(answer.headers_mut());
        answer
    }

    async fn checked<B>(&self, head: &Parts, body: B) -> Result<Answer, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        check_host(head)?;
        if self.requests.check(&()).is_err() {
            return Err((StatusCode::TOO_MANY_REQUESTS, "Too many requests: wait a second.\n"));
        }
        let (path, is_post) = (head.uri.path(), head.method == Method::POST);
        let is_get = head.method == Method::GET || head.method == Method::HEAD;
        match (path, is_get, is_post) {
            ("/" | "/stats" | "/limit" | "/key" | "/peek", true, _) => {
                let query = Form::read(head.uri.query().unwrap_or_default());
                Ok(self.shown(path, &query.unwrap_or_default()))
            }
            ("/find" | "/reset", _, true) => {
                check_origin(head)?;
                let form = read(body).await?;
                self.token.check(form.get("token").unwrap_or_default())?;
                Ok(self.done(path, &form))
            }
            ("/" | "/stats" | "/limit" | "/key" | "/peek" | "/find" | "/reset", ..) => {
                let allowed = if matches!(path, "/find" | "/reset") { "POST" } else { "GET, HEAD" };
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Another method.\n");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                Ok(answer)
            }
            _ => Err((StatusCode::NOT_FOUND, "There are /, /stats, /limit, /key and /peek.\n")),
        }
    }

    /// What changes nothing.
    fn shown(&self, path: &str, query: &Form) -> Answer {
        let enforcer = (self.source.enforcer)();
        let host = self.host.as_deref();
        match path {
            "/" => {
                let refreshes = query.get("refresh").is_some_and(|every| every == page::REFRESH.to_string());
                let mut answer =
                    html(StatusCode::OK, page::overview(&self.view(&enforcer), self.token.text(), refreshes));
                if refreshes {
                    answer.headers_mut().insert(REFRESH, HeaderValue::from(page::REFRESH));
                }
                answer
            }
            "/stats" => json(StatusCode::OK, &stats::all(&self.view(&enforcer), self.token.text())),
            "/limit" => match limit(&enforcer, query.get("name")) {
                Some((_, limit, _)) => html(StatusCode::OK, detail::limit(host, limit, self.token.text(), None)),
                None => self.no_limit(),
            },
            _ => self.key(&enforcer, query, path == "/peek"),
        }
    }

    fn view(&self, enforcer: &Enforcer) -> View {
        let (now, history, totals) = (Instant::now(), self.history.borrow(), (self.source.totals)());
        View {
            host: self.host.clone(),
            up_for: now - self.started,
            totals,
            rate: history.rate(now, totals),
            history: history.spans(now, totals),
            rules: view::rules(enforcer, &history, &limits(&self.source.counters), now),
            kept: enforcer.config().offenders,
            offenders: view::most_denied(enforcer),
            config: (self.source.config)(),
            resets: self.resets.borrow().iter().cloned().collect(),
            now: SystemTime::now(),
        }
    }

    /// One key.
    fn key(&self, enforcer: &Enforcer, query: &Form, is_json: bool) -> Answer {
        let Some((at, config, limiter)) = limit(enforcer, query.get("limit")) else { return self.no_limit() };
        let Some(found) = self.keys.borrow().find(enforcer, at, query.get("key").unwrap_or_default()) else {
            return self.no_key();
        };
        let plans = standings(enforcer, at, limiter, &found);
        if is_json {
            return json(StatusCode::OK, &stats::key(&config.name, &found.text, &found.shown, &plans));
        }
        let resets = self.resets.borrow();
        let reset = resets.iter().find(|reset| reset.rule == config.name && reset.shown == found.shown);
        let stands = Stands { limit: &config.name, found: &found, plans: &plans, reset, now: SystemTime::now() };
        html(StatusCode::OK, detail::key(self.host.as_deref(), &stands, self.token.text()))
    }

    /// What changes something, or has what must not stand in a link.
    fn done(&self, path: &str, form: &Form) -> Answer {
        let enforcer = (self.source.enforcer)();
        let Some((at, config, limiter)) = limit(&enforcer, form.get("limit")) else { return self.no_limit() };
        let found = if path == "/find" {
            match self.keys.borrow_mut().typed(&enforcer, at, form) {
                Ok(found) => found,
                Err(wrong) => {
                    let page = detail::limit(self.host.as_deref(), config, self.token.text(), Some(&wrong));
                    return html(StatusCode::UNPROCESSABLE_ENTITY, page);
                }
            }
        } else {
            let found = self.keys.borrow().find(&enforcer, at, form.get("key").unwrap_or_default());
            let Some(found) = found else { return self.no_key() };
            let Some(account) = found.account(&enforcer, at, limiter) else { return self.no_key() };
            account.reset();
            tracing::info!(limit = %config.name, key = %spelt(&found.shown), "a key was reset on the admin page");
            let mut resets = self.resets.borrow_mut();
            resets.truncate(RESETS_MAX - 1);
            resets.push_front(Reset { at: SystemTime::now(), rule: config.name.clone(), shown: found.shown.clone() });
            found
        };
        let to = format!("/key?limit={}&key={}", Query(&config.name), Query(&found.text));
        let mut answer = plain(StatusCode::SEE_OTHER, "");
        answer.headers_mut().insert(LOCATION, HeaderValue::from_str(&to).expect("it is percent-encoded"));
        answer
    }

    fn no_limit(&self) -> Answer {
        let text = "No limit of that name is in force. The overview has those that are.";
        html(StatusCode::NOT_FOUND, detail::wrong(self.host.as_deref(), "No such limit", text))
    }

    fn no_key(&self) -> Answer {
        let text = "That is not a key of this limit. Or it is known by a fingerprint alone, and is no longer among those that are denied \
                    most: then look it up by its value, on the page of its limit.";
        html(StatusCode::NOT_FOUND, detail::wrong(self.host.as_deref(), "No such key", text))
    }
}

/// A limit in force, with its place.
fn limit<'a>(enforcer: &'a Enforcer, name: Option<&str>) -> Option<(usize, &'a Limit, &'a RateLimiter)> {
    let mut limits = enforcer.limiters().enumerate().map(|(at, (limit, limiter))| (at, limit, limiter));
    limits.find(|(_, limit, _)| Some(&*limit.name) == name)
}

/// Where a key stands by each plan of its limit.
fn standings(enforcer: &Enforcer, at: usize, limiter: &RateLimiter, found: &Found) -> Vec<(String, Standing, Free)> {
    let limit = &enforcer.config().limits[at];
    let named = limit.plans.iter().flat_map(|plans| &plans.policies).map(|(name, _)| (&**name, limiter.plan(name)));
    let plans = [("default", Some(Plan::DEFAULT))].into_iter().chain(named);
    let handles = plans.filter_map(|(name, plan)| Some((name, limiter.on(plan?).ok()?)));
    let standings = handles.filter_map(|(name, limiter)| {
        let account = found.account(enforcer, at, &limiter)?;
        Some((name.to_owned(), account.standing(), free(&account)))
    });
    standings.collect()
}

/// Reads a form that is not too long.
async fn read<B>(body: B) -> Result<Form, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const TOO_LONG: Refusal = (StatusCode::PAYLOAD_TOO_LARGE, "A form has at most 8 KiB.\n");
    const BAD: Refusal = (StatusCode::BAD_REQUEST, "That is not a form.\n");
    let bytes = Limited::new(Box::pin(body), FORM_MAX).collect().await.map_err(|_| TOO_LONG)?.to_bytes();
    std::str::from_utf8(&bytes).ok().and_then(Form::read).ok_or(BAD)
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn html(status: StatusCode, text: String) -> Answer {
    answer(status, "text/html; charset=utf-8", text.into())
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n").into())
}

fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// What this machine or pod is called, where the system tells.
fn hostname() -> Option<String> {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    told.ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}
