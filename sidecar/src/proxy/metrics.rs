//! [`Metrics`]: what the proxy counts of itself, and [`Listener`], where that is read.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tollgate::http::LimiterCounts;

use super::force::Force;
use super::runtime::Timer;
use crate::durations::{BUCKETS, Durations};
use crate::lines::Lines;
use crate::rules::Enforcer;

/// Counts of one thread, which others read. They publish nothing, so relaxed is enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    clients: AtomicI64,
    upstreams: AtomicI64,
    /// By the upstream's name; those that are gone too, since a counter does not go back.
    upstreams_answered: Mutex<BTreeMap<String, Arc<Durations>>>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The upstream answered.
    Forwarded,
    /// The same, and no limit counted it.
    Exempt,
    /// A limit was reached.
    Denied,
    /// The client did something wrong.
    Rejected,
    /// The upstream did.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Forwarded, "forwarded"),
        (Self::Exempt, "exempt"),
        (Self::Denied, "denied"),
        (Self::Rejected, "rejected"),
        (Self::Failed, "failed"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl Metrics {
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn outcome(&self, outcome: Outcome) -> u64 {
        self.counts.outcomes[outcome as usize].load(Relaxed)
    }

    /// How long this upstream takes until its response begins.
    pub(super) fn answers_of(&self, upstream: String) -> Arc<Durations> {
        let mut all = self.counts.upstreams_answered.lock().expect("nothing panics under it");
        all.entry(upstream).or_default().clone()
    }

    /// A client is connected, until this is dropped.
    pub(super) fn client(&self) -> Connected {
        self.counts.clients.fetch_add(1, Relaxed);
        Connected { counts: self.counts.clone(), is_client: true }
    }

    /// The same for a connection to the upstream.
    pub(super) fn upstream(&self) -> Connected {
        self.counts.upstreams.fetch_add(1, Relaxed);
        Connected { counts: self.counts.clone(), is_client: false }
    }

    pub(super) fn upstreams(&self) -> i64 {
        self.counts.upstreams.load(Relaxed)
    }

    pub(super) fn clients(&self) -> i64 {
        self.counts.clients.load(Relaxed)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Connected {
    counts: Arc<Counts>,
    is_client: bool,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let count = if self.is_client { &self.counts.clients } else { &self.counts.upstreams };
        count.fetch_sub(1, Relaxed);
    }
}

/// What the listener tells.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Those of each thread.
    pub(super) threads: Vec<Metrics>,
    pub(super) force: Arc<Force>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) access: Lines,
}

/// Serves `/metrics`, `/healthz` and `/readyz` on a thread of its own, so that they are answered while all others are busy.
///
/// # Errors
///
/// If the thread cannot be started.
pub(super) fn listen(listener: TcpListener, told: Told) -> io::Result<()> {
    let run = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if let Err(error) = runtime.block_on(serve(listener, told)) {
            tracing::error!(%error, "the metrics are not served any more");
        }
    };
    std::thread::Builder::new().name("metrics".into()).stack_size(256 * 1024).spawn(run).map(|_| ())
}

/// How many may ask at once, and how long they may take. A probe needs one, for a moment. It must not wait for those that ask nothing, or
/// the proxy would be taken for dead: where there are too many, the oldest is closed.
const CONNECTIONS: usize = 32;
const DEADLINE: Duration = Duration::from_secs(10);

async fn serve(listener: TcpListener, told: Told) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let told = Arc::new(told);
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let told = told.clone();
        open.retain(|connection| !connection.is_finished());
        if open.len() == CONNECTIONS {
            open.pop_front().into_iter().for_each(|oldest| oldest.abort());
        }
        let connection = tokio::spawn(async move {
            let service = service_fn(|request| answer(&told, request));
            let connection = http1::Builder::new()
                .timer(Timer)
                .header_read_timeout(DEADLINE)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            let _: Result<_, _> = timeout(6 * DEADLINE, connection).await;
        });
        open.push_back(connection.abort_handle());
    }
}

async fn answer(told: &Told, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", told.text())
        }
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, plain, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match told.unready().await {
            None => (StatusCode::OK, plain, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, plain, format!("{why}\n")),
        },
        (_, "/metrics" | "/healthz" | "/readyz") => {
            (StatusCode::METHOD_NOT_ALLOWED, plain, "only GET and HEAD\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, plain, "/metrics, /healthz, /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Told {
    /// Why no requests should be sent here yet, or any more.
    async fn unready(&self) -> Option<&'static str> {
        if self.draining.load(Relaxed) {
            return Some("draining");
        }
        if self.force.ready.load(Relaxed) {
            return None;
        }
        let in_force = self.force.now();
        if !in_force.config.requires_upstream {
            return None;
        }
        // All at once: whoever asks does not wait for long.
        let mut tries = JoinSet::new();
        for upstream in in_force.config.upstreams.iter() {
            let authority = &upstream.authority;
            let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
            let connect = async move { TcpStream::connect((host.trim_matches(['[', ']']), port)).await.is_ok() };
            tries.spawn(timeout(in_force.config.deadlines.connect, connect));
        }
        while let Some(tried) = tries.join_next().await {
            if let Ok(Ok(true)) = tried {
                self.force.ready.store(true, Relaxed);
                return None;
            }
        }
        Some("no upstream has accepted a connection yet")
    }

    /// All metrics, in Prometheus' text format. Labels come from the configuration alone.
    fn text(&self) -> String {
        let mut text = Exposition::default();
        let in_force = self.force.now();
        text.about("requests_total", "counter", "Requests, by what became of them.");
        for (outcome, name) in Outcome::ALL {
            let sum: u64 = self.threads.iter().map(|thread| thread.outcome(outcome)).sum();
            text.value("requests_total", &[("outcome", name)], sum);
        }
        let limiters = self.force.counts.snapshot();
        text.about("allowed_total", "counter", "Requests that a limiter let pass.");
        for limiter in &limiters {
            text.value("allowed_total", &[("limiter", &limiter.name)], limiter.allowed);
        }
        text.about("errors_total", "counter", "Requests without what a limiter counts by.");
        for limiter in &limiters {
            text.value("errors_total", &[("limiter", &limiter.name)], limiter.errors);
        }
        type Counted = fn(&LimiterCounts) -> &BTreeMap<String, u64>;
        let by_quota: [(&str, &str, Counted); 3] = [
            ("denied_total", "Requests that a quota denied.", |limiter| &limiter.denied_by),
            ("shadow_denied_total", "Requests that a quota would deny, if it were enforced.", |limiter| {
                &limiter.shadow_denied_by
            }),
            ("near_limit_total", "Requests that passed with little of a quota left.", |limiter| &limiter.near_limit_by),
        ];
        for (name, help, counted) in by_quota {
            text.about(name, "counter", help);
            for limiter in &limiters {
                for (quota, count) in counted(limiter) {
                    text.value(name, &[("limiter", &limiter.name), ("quota", quota)], *count);
                }
            }
        }
        type Told = fn(&tollgate::Stats) -> u64;
        let tables: [(&str, &str, &str, Told); 3] = [
            ("keys", "gauge", "Keys that a limiter remembers.", |stats| stats.len as u64),
            ("keys_capacity", "gauge", "Keys that a limiter can remember.", |stats| stats.capacity as u64),
            ("keys_evicted_total", "counter", "Keys that were forgotten for want of room.", |stats| stats.evicted),
        ];
        for (name, kind, help, counted) in tables {
            text.about(name, kind, help);
            for (_, limiter) in in_force.enforcer.limiters() {
                text.value(name, &[("limiter", limiter.name().unwrap_or(""))], counted(&limiter.stats()));
            }
        }
        text.about("connections", "gauge", "Open connections.");
        text.value("connections", &[("side", "client")], self.threads.iter().map(Metrics::clients).sum::<i64>());
        text.value("connections", &[("side", "upstream")], self.threads.iter().map(Metrics::upstreams).sum::<i64>());
        self.upstreams(&mut text);
        self.store(&in_force.enforcer, &mut text);
        text.about("access_log_dropped_total", "counter", "Lines of the access log that nobody took in time.");
        text.value("access_log_dropped_total", &[], self.access.dropped());
        let last = self.force.last_reload();
        text.about("config_last_reload_successful", "gauge", "Whether the newest configuration was taken up.");
        text.value("config_last_reload_successful", &[], u8::from(last.refused.is_none()));
        text.about("config_last_reload_success_timestamp_seconds", "gauge", "When the configuration in force was.");
        let since = last.success.duration_since(UNIX_EPOCH).unwrap_or_default();
        text.value("config_last_reload_success_timestamp_seconds", &[], since.as_secs_f64());
        text.about("config_hash", "gauge", "The same number where the same configuration is in force.");
        text.value("config_hash", &[], in_force.hash());
        text.about("build_info", "gauge", "The version that runs.");
        text.value("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.0
    }

    fn store(&self, enforcer: &Enforcer, text: &mut Exposition) {
        let Some(store) = enforcer.store() else { return };
        text.about("store_up", "gauge", "Whether the store answers.");
        text.value("store_up", &[], u8::from(store.is_up()));
        text.about("store_fallback_total", "counter", "Questions that were answered here, since the store did not.");
        for (answer, count) in store.fallbacks(enforcer.limiters_there().map(|(_, limiter)| limiter)) {
            text.value("store_fallback_total", &[("answer", answer)], count);
        }
        const NAME: &str = "store_request_duration_seconds";
        text.about(NAME, "histogram", "Until the store has answered, or its time was over.");
        text.histogram(NAME, &[], &[store.durations().clone()]);
    }

    fn upstreams(&self, text: &mut Exposition) {
        const NAME: &str = "upstream_request_duration_seconds";
        text.about(NAME, "histogram", "Until the upstream's response begins.");
        let mut by_upstream = BTreeMap::<String, Vec<Arc<Durations>>>::new();
        for thread in &self.threads {
            for (upstream, durations) in &*thread.counts.upstreams_answered.lock().expect("nothing panics under it") {
                by_upstream.entry(upstream.clone()).or_default().push(durations.clone());
            }
        }
        for (upstream, durations) in by_upstream {
            text.histogram(NAME, &[("upstream", &upstream)], &durations);
        }
    }
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP tollgate_{name} {help}\n# TYPE tollgate_{name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        if labels.is_empty() {
            let _ = writeln!(self.0, "tollgate_{name} {value}");
            return;
        }
        let _ = write!(self.0, "tollgate_{name}{{");
        for (index, (label, text)) in labels.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{comma}{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "}} {value}");
    }

    /// The sum of these.
    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &[Arc<Durations>]) {
        let sum = |count: &dyn Fn(&Durations) -> &AtomicU64| -> u64 {
            durations.iter().map(|durations| count(durations).load(Relaxed)).sum()
        };
        let mut within = 0;
        for (index, bound) in BUCKETS.iter().map(|(_, name)| *name).chain(["+Inf"]).enumerate() {
            within += sum(&|durations| &durations.within[index]);
            self.value(&format!("{name}_bucket"), &[labels, &[("le", bound)]].concat(), within);
        }
        let sum = Duration::from_micros(sum(&|durations| &durations.micros)).as_secs_f64();
        self.value(&format!("{name}_sum"), labels, sum);
        self.value(&format!("{name}_count"), labels, within);
    }
}
