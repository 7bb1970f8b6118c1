//! [`Desk`]: who is asked. It reads a request, and writes the answer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, REFRESH};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;
use tollgate::redis::Unanswered;
use tollgate::{Plan, Quota, RateLimiter, Standing};

use super::Source;
use super::detail::{self, Stands};
use super::form::Form;
use super::guard::{AdminRefusal, Always, Token, check_host, check_origin};
use super::history::{History, limits};
use super::html::{Query, spelt};
use super::keys::{Keys, KnownKey};
use super::store::AdminStore;
use super::view::{Free, Reset, StoreState, View, free, free_there};
use super::{page, stats, view};
use crate::config::{Limit, OnFailure};
use crate::rules::Enforcer;

/// The most bytes of a form that are read.
const FORM_MAX: usize = 8 * 1024;

/// How many resets are remembered.
const RESETS_MAX: usize = 10;

/// How many requests are answered. It is more than a person makes, and little for the machine.
const PER_SECOND: Quota = Quota::per_second(20).burst(60);

/// How long an overview waits for what a store says of those who are denied most.
const LOOK_UP: Duration = Duration::from_millis(500);

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
    store: RefCell<Option<AdminStore>>,
    store_down_since: Cell<Option<SystemTime>>,
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
            store: RefCell::default(),
            store_down_since: Cell::default(),
        };
        desk.sample();
        Some(desk)
    }

    /// Remembers what has been counted by now.
    pub(super) fn sample(&self) {
        let (totals, limits) = ((self.source.totals)(), limits(&self.source.counts));
        self.history.borrow_mut().sample(Instant::now(), totals, limits);
        self.store_state(&(self.source.enforcer)());
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

    async fn checked<B>(&self, head: &Parts, body: B) -> Result<Answer, AdminRefusal>
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
                Ok(self.shown(path, &query.unwrap_or_default()).await)
            }
            ("/find" | "/reset", _, true) => {
                check_origin(head)?;
                let form = read(body).await?;
                self.token.check(form.get("token").unwrap_or_default())?;
                Ok(self.done(path, &form).await)
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
    async fn shown(&self, path: &str, query: &Form) -> Answer {
        let enforcer = (self.source.enforcer)();
        let host = self.host.as_deref();
        match path {
            "/" => {
                let refreshes = query.get("refresh").is_some_and(|every| every == page::REFRESH.to_string());
                let view = self.view(&enforcer).await;
                let mut answer = html(StatusCode::OK, page::overview(&view, self.token.text(), refreshes));
                if refreshes {
                    answer.headers_mut().insert(REFRESH, HeaderValue::from(page::REFRESH));
                }
                answer
            }
            "/stats" => json(StatusCode::OK, &stats::all(&self.view(&enforcer).await, self.token.text())),
            "/limit" => match limit(&enforcer, query.get("name")) {
                Some((_, limit)) => html(StatusCode::OK, detail::limit(host, limit, self.token.text(), None)),
                None => self.no_limit(),
            },
            _ => self.key(&enforcer, query, path == "/peek").await,
        }
    }

    async fn view(&self, enforcer: &Enforcer) -> View {
        let store = self.store_state(enforcer);
        let mut offenders = view::most_denied(enforcer);
        if store.as_ref().is_some_and(|store| store.down_since.is_none()) {
            // What is not there in time is shown as not known.
            let _ = timeout(LOOK_UP, self.look_up(enforcer, &mut offenders)).await;
        }
        let (now, history, totals) = (Instant::now(), self.history.borrow(), (self.source.totals)());
        View {
            host: self.host.clone(),
            up_for: now - self.started,
            totals,
            rate: history.rate(now, totals),
            history: history.spans(now, totals),
            rules: view::rules(enforcer, &history, &limits(&self.source.counts), now),
            kept: enforcer.config().offenders,
            offenders,
            config: (self.source.config)(),
            store,
            resets: self.resets.borrow().iter().cloned().collect(),
            now: SystemTime::now(),
        }
    }

    /// Asks the store when those pass who are denied most, as far as they are on the page.
    async fn look_up(&self, enforcer: &Enforcer, offenders: &mut [view::DeniedKey]) -> Result<(), Unanswered> {
        let Some(store) = self.store(enforcer) else { return Ok(()) };
        for denied in offenders.iter_mut().take(page::SHOWN_MAX) {
            let Some((at, limit)) = limit(enforcer, Some(&denied.rule)) else { continue };
            let found = self.keys.borrow().find(enforcer, at, &denied.text);
            let Some(found) = found else { continue };
            let plans = store.standings(limit, &found.key()).await?;
            let free = plans.iter().map(|(_, standing)| free_there(standing)).reduce(Free::or);
            denied.free = free.unwrap_or(Free::Unknown);
        }
        Ok(())
    }

    /// One key.
    async fn key(&self, enforcer: &Enforcer, query: &Form, is_json: bool) -> Answer {
        let Some((at, config)) = limit(enforcer, query.get("limit")) else { return self.no_limit() };
        let Some(found) = self.find(enforcer, at, query) else { return self.no_key() };
        let plans = match self.standings(enforcer, at, &found).await {
            Ok(plans) => plans,
            Err(unanswered) => return self.no_answer(&unanswered),
        };
        if is_json {
            return json(StatusCode::OK, &stats::key(&config.name, &found.text, &found.shown, &plans));
        }
        let resets = self.resets.borrow();
        let reset = resets.iter().find(|reset| reset.rule == config.name && reset.shown == found.shown);
        let is_in_store = enforcer.limiter_here(at).is_none();
        let stands =
            Stands { limit: &config.name, found: &found, plans: &plans, is_in_store, reset, now: SystemTime::now() };
        html(StatusCode::OK, detail::key(self.host.as_deref(), &stands, self.token.text()))
    }

    /// What changes something, or has what must not stand in a link.
    async fn done(&self, path: &str, form: &Form) -> Answer {
        let enforcer = (self.source.enforcer)();
        let Some((at, config)) = limit(&enforcer, form.get("limit")) else { return self.no_limit() };
        let found = if path == "/find" {
            let typed = self.keys.borrow_mut().typed(&enforcer, at, form);
            match typed {
                Ok(found) => found,
                Err(wrong) => {
                    let page = detail::limit(self.host.as_deref(), config, self.token.text(), Some(&wrong));
                    return html(StatusCode::UNPROCESSABLE_ENTITY, page);
                }
            }
        } else {
            let Some(found) = self.find(&enforcer, at, form) else { return self.no_key() };
            if let Err(unanswered) = self.reset(&enforcer, at, &found).await {
                return self.no_answer(&unanswered);
            }
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

    fn find(&self, enforcer: &Enforcer, at: usize, form: &Form) -> Option<KnownKey> {
        self.keys.borrow().find(enforcer, at, form.get("key").unwrap_or_default())
    }

    /// Where a key stands by each plan of its limit.
    async fn standings(&self, enforcer: &Enforcer, at: usize, found: &KnownKey) -> Result<Vec<Stand>, Unanswered> {
        let limit = &enforcer.config().limits[at];
        if let Some(limiter) = enforcer.limiter_here(at) {
            return Ok(standings(enforcer, at, limiter, found));
        }
        let Some(store) = self.store(enforcer) else { return Ok(Vec::new()) };
        let standings = store.standings(limit, &found.key()).await?;
        Ok(standings.into_iter().map(|(plan, standing)| (plan, standing.clone(), free_there(&standing))).collect())
    }

    async fn reset(&self, enforcer: &Enforcer, at: usize, found: &KnownKey) -> Result<(), Unanswered> {
        if let Some(limiter) = enforcer.limiter_here(at) {
            if let Some(account) = found.account(enforcer, at, limiter) {
                account.reset();
            }
            return Ok(());
        }
        match self.store(enforcer) {
            Some(store) => store.reset(&enforcer.config().limits[at], &found.key()).await,
            None => Ok(()),
        }
    }

    /// The store of the configuration that is in force.
    fn store(&self, enforcer: &Enforcer) -> Option<AdminStore> {
        let config = enforcer.config().store.as_ref()?;
        let mut store = self.store.borrow_mut();
        if !store.as_ref().is_some_and(|store| store.is(config)) {
            *store = AdminStore::new(config);
        }
        store.clone()
    }

    /// How the store is. Since when it has been away is known to a few seconds.
    fn store_state(&self, enforcer: &Enforcer) -> Option<StoreState> {
        let (store, config) = (enforcer.store()?, enforcer.config().store.as_ref()?);
        let since = self.store_down_since.get().unwrap_or_else(SystemTime::now);
        let down_since = if store.is_up() { None } else { Some(since) };
        self.store_down_since.set(down_since);
        let meanwhile = match config.on_failure {
            OnFailure::Local(_) => "this proxy counts by itself, with its share of each limit",
            OnFailure::Open => "every request passes",
            OnFailure::Closed => "no request passes",
        };
        Some(StoreState { down_since, meanwhile })
    }

    fn no_answer(&self, unanswered: &Unanswered) -> Answer {
        let text = format!("Redis did not answer, so it is not known what was done: {unanswered}");
        html(StatusCode::SERVICE_UNAVAILABLE, detail::wrong(self.host.as_deref(), "No answer", &text))
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

/// Where a key stands by a plan, and when it passes.
type Stand = (String, Standing, Free);

/// A limit in force, with its place.
fn limit<'a>(enforcer: &'a Enforcer, name: Option<&str>) -> Option<(usize, &'a Limit)> {
    enforcer.config().limits.iter().enumerate().find(|(_, limit)| Some(&*limit.name) == name)
}

/// Where a key stands in this process by each plan of its limit.
fn standings(enforcer: &Enforcer, at: usize, limiter: &RateLimiter, found: &KnownKey) -> Vec<Stand> {
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
async fn read<B>(body: B) -> Result<Form, AdminRefusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const TOO_LONG: AdminRefusal = (StatusCode::PAYLOAD_TOO_LARGE, "A form has at most 8 KiB.\n");
    const BAD: AdminRefusal = (StatusCode::BAD_REQUEST, "That is not a form.\n");
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
