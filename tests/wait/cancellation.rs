//! Futures of every kind, dropped at any point, leave nothing behind: no charge, no place in a queue, no readiness.
//!
//! 100,000 are dropped unless `TOLLGATE_CANCELLATIONS` says how many. A million, best with optimizations:
//!
//! ```text
//! TOLLGATE_CANCELLATIONS=1000000 cargo test --release --all-features --test wait cancellation
//! ```

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use tokio::task::yield_now;
use tollgate::http::GlobalKey;
use tollgate::{Clock, Denied, NotReady, Policy, Quota, RateLimitLayer, RateLimiter};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service};

use crate::random::Random;

/// How many futures are dropped.
fn cancellations() -> usize {
    match std::env::var("TOLLGATE_CANCELLATIONS") {
        Ok(count) => count.parse().expect("TOLLGATE_CANCELLATIONS is a number"),
        Err(_) => 100_000,
    }
}

/// What a request asks for: its cost, and how often its answer is polled before it is there.
#[derive(Clone, Copy)]
struct Wish {
    cost: u64,
    polls: u64,
}

/// Answers after some polls. Notes what those that reach it have cost.
#[derive(Clone, Default)]
struct Slow {
    spent: Arc<AtomicU64>,
    answering: Arc<AtomicU64>,
}

impl Service<Request<Wish>> for Slow {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Wish>) -> Answer {
        let Wish { cost, polls } = *request.body();
        self.spent.fetch_add(cost, Relaxed);
        self.answering.fetch_add(1, Relaxed);
        Answer { polls, answering: self.answering.clone() }
    }
}

struct Answer {
    polls: u64,
    answering: Arc<AtomicU64>,
}

impl Future for Answer {
    type Output = Result<Response<()>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.polls.checked_sub(1) {
            Some(left) => {
                self.polls = left;
                Poll::Pending
            }
            None => Poll::Ready(Ok(Response::new(()))),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answering.fetch_sub(1, Relaxed);
    }
}

/// An exact token bucket: a token is 10^9 units, so that `rate` units come each nanosecond.
struct Exact {
    rate: u128,
    full: u128,
    level: u128,
}

impl Exact {
    const TOKEN: u128 = 1_000_000_000;

    fn new(rate: u128, burst: u128) -> Self {
        Self { rate, full: burst * Self::TOKEN, level: burst * Self::TOKEN }
    }

    fn refill(&mut self, by: Duration) {
        self.level = (self.level + by.as_nanos() * self.rate).min(self.full);
    }

    fn spend(&mut self, tokens: u64) {
        let units = u128::from(tokens) * Self::TOKEN;
        self.level = self.level.checked_sub(units).expect("more passed than there was");
    }

    fn remaining(&self) -> u64 {
        (self.level / Self::TOKEN) as u64
    }
}

/// How a future ended, if it did: with what an `until_ready` was charged.
type Running = Pin<Box<dyn Future<Output = Option<u64>>>>;

/// One thread and a paused clock, so that after each step the key must have exactly what those who passed left it.
#[tokio::test(start_paused = true)]
async fn the_budget_is_what_those_who_passed_left() {
    for (limit, buckets) in [
        ("100/second burst 20", vec![(100, 20)]),
        ("100/second burst 20; 90/second burst 35; 50/second burst 100", vec![(100, 20), (90, 35), (50, 100)]),
    ] {
        budget(limit, buckets.into_iter().map(|(rate, burst)| Exact::new(rate, burst)).collect(), cancellations() / 2)
            .await;
    }
}

async fn budget(limit: &str, mut exact: Vec<Exact>, drops: usize) {
    const SLOTS: usize = 24;
    let clock = Clock::tokio();
    let policy: Policy = limit.parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).waiters(12).build();
    let cost = |head: &Parts| *head.extensions.get::<u64>().expect("each request has a cost");
    let layer = RateLimitLayer::sharing(&limiter).key(|_: &Parts| Some(7_u64)).cost(cost);
    let slow = Slow::default();
    let plain = layer.clone().any_body().layer(ConcurrencyLimit::new(slow.clone(), SLOTS));
    let delay = Duration::from_millis(150);
    let delayed = layer.delay(delay).any_body().layer(ConcurrencyLimit::new(slow.clone(), SLOTS));

    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut running: Vec<Running> = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut dropped, mut ended, mut waited_for, mut at) = (0, 0, 0, clock.elapsed());
    let mut seen = [0_usize; 13];
    while dropped < drops {
        let mut spent = slow.spent.load(Relaxed);
        match random.below(15) {
            // One more, of any kind.
            0..=5 if running.len() < SLOTS => {
                let wish = Wish { cost: 1 + random.below(3), polls: random.below(4) };
                let mut request = Request::new(wish);
                request.extensions_mut().insert(wish.cost);
                running.push(match random.below(4) {
                    0 => {
                        let mut service = plain.clone();
                        assert!(service.poll_ready(&mut cx).is_ready());
                        let response = service.call(request);
                        Box::pin(async { response.await.map(|_| None).unwrap() })
                    }
                    1 => {
                        let mut service = delayed.clone();
                        assert!(service.poll_ready(&mut cx).is_ready());
                        let response = service.call(request);
                        Box::pin(async { response.await.map(|_| None).unwrap() })
                    }
                    kind => {
                        let ready = limiter.until_ready_n(&7_u64, wish.cost);
                        let ready = if kind == 2 { ready } else { ready.within(Duration::from_millis(100)) };
                        Box::pin(async move { ready.await.is_ok().then_some(wish.cost) })
                    }
                });
            }
            6..=10 if !running.is_empty() => {
                let index = random.below(running.len() as u64) as usize;
                if let Poll::Ready(charged) = running[index].as_mut().poll(&mut cx) {
                    drop(running.swap_remove(index));
                    slow.spent.fetch_add(charged.unwrap_or(0), Relaxed);
                    ended += 1;
                }
            }
            11..=13 if !running.is_empty() => {
                drop(running.swap_remove(random.below(running.len() as u64) as usize));
                dropped += 1;
            }
            14 => tokio::time::advance(Duration::from_micros(random.below(30_000))).await,
            _ => {}
        }
        spent = slow.spent.load(Relaxed) - spent;
        waited_for += spent;
        let now = clock.elapsed();
        for bucket in &mut exact {
            bucket.refill(now - at);
            bucket.spend(spent);
        }
        at = now;
        let least = exact.iter().map(Exact::remaining).min().unwrap();
        assert_eq!(limiter.peek(&7_u64).remaining(), least, "{limit}, after {dropped} were dropped");
        seen[limiter.stats().waiters] += 1;
    }
    // There was something to see: queues of all lengths, and many that passed.
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
    assert!(ended > drops / 4 && waited_for > drops as u64 / 8, "{ended} ended, {waited_for} passed");

    running.clear();
    assert_eq!((limiter.stats().waiters, slow.answering.load(Relaxed)), (0, 0));
    let mut all: Vec<_> = (0..SLOTS).map(|_| plain.clone()).collect();
    assert!(all.iter_mut().all(|service| service.poll_ready(&mut cx).is_ready()));
    let mut all: Vec<_> = (0..SLOTS).map(|_| delayed.clone()).collect();
    assert!(all.iter_mut().all(|service| service.poll_ready(&mut cx).is_ready()));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(limiter.check_n(&7_u64, 20).is_ok());
}

/// Several threads, real time, futures dropped while others of the same key pass. A second quota's window, which never
/// ends, counts all that is charged: in the end exactly its amount has passed, to the last one.
#[test]
fn the_books_balance_when_many_threads_go_away() {
    const TASKS: usize = 32;
    let waits = cancellations() / TASKS / 2;
    let amount = (TASKS * waits) as u64 + 1000;
    let quotas = [("pace", Quota::per_second(100_000).burst(100)), ("total", Quota::per_day(amount).fixed_window())];
    let policy = Policy::new(quotas).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey);
    let slow = Slow::default();
    let delayed = layer.delay(Duration::from_secs(3600)).any_body().layer(slow.clone());
    let key = ();
    let passed = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (limiter, passed, mut service) = (limiter.clone(), passed.clone(), delayed.clone());
                tokio::spawn(async move {
                    let mut random = Random(task as u64 + 1);
                    for _ in 0..waits {
                        let polls = if random.below(8) == 0 { u64::MAX } else { random.below(4) };
                        if random.below(2) == 0 {
                            if let Some(answer) = some_polls(limiter.until_ready(&key), polls).await {
                                answer.unwrap();
                                passed.fetch_add(1, Relaxed);
                            }
                        } else {
                            let request = Request::new(Wish { cost: 1, polls: 0 });
                            if let Some(answer) = some_polls(service.call(request), polls).await {
                                assert!(answer.unwrap().extensions().get::<Denied>().is_none());
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(limiter.stats().waiters, 0);
        // What is left of the window can still pass, and no more.
        loop {
            match limiter.until_ready(&key).within(Duration::from_secs(60)).await {
                Ok(_) => passed.fetch_add(1, Relaxed),
                Err(refused) => {
                    assert!(matches!(refused, NotReady::TooLong(denied) if denied.status().quota() == "total"));
                    break;
                }
            };
        }
    });
    assert_eq!(passed.load(Relaxed) + slow.spent.load(Relaxed), amount);
}

/// Polls a future so often, and drops it if it is not ready by then.
async fn some_polls<F: Future>(future: F, polls: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    if polls == u64::MAX {
        return Some(future.await);
    }
    for _ in 0..polls {
        let once = std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(output) = once.await {
            return Some(output);
        }
        yield_now().await;
    }
    None
}
