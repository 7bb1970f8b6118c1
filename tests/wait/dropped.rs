//! A request dropped at each of its steps, whatever becomes of it and however its charge is settled: nothing is lost, nothing is
//! minted, no place is kept and no readiness. And a future that is polled once too often.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tollgate::http::GlobalKey;
use tollgate::wait::Delayed;
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, service_fn};

/// What each request is charged.
const COST: u64 = 4;

/// What the head of a response says that it cost.
const SAID: u64 = 2;

#[derive(Clone, Copy, Debug)]
enum Settled {
    Never,
    ByHead,
    ByBody,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Passes,
    PassesAfterWaiting,
    Denied,
    DeniedAfterWaiting,
}

/// Ready at every second poll.
#[derive(Default)]
struct Slow(bool);

impl Slow {
    fn poll(&mut self) -> Poll<()> {
        self.0 = !self.0;
        if self.0 { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Three frames of a byte each.
struct Frames(u8, Slow);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::ready!(self.1.poll());
        self.0 += 1;
        Poll::Ready((self.0 <= 3).then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

struct Answer(Slow);

impl Future for Answer {
    type Output = Result<Response<Frames>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll().map(|()| Ok(Response::new(Frames(0, Slow::default()))))
    }
}

fn limiter() -> RateLimiter {
    // The second quota is the account: it opens once, and gets nothing back by itself.
    let policy: Policy = "pace: 4/second; account: 1000/day fixed".parse().unwrap();
    RateLimiter::builder(policy).capacity(64).clock(Clock::tokio()).build()
}

fn layer(limiter: &RateLimiter, settled: Settled, up_to: Duration) -> RateLimitLayer<GlobalKey, Delayed> {
    let layer = RateLimitLayer::sharing(limiter).key(GlobalKey).cost(|_| COST);
    let layer = match settled {
        Settled::Never => layer,
        Settled::ByHead => layer.settle(|_| Some(SAID)),
        Settled::ByBody => layer.settle_by_body(|bytes| bytes),
    };
    layer.delay(up_to)
}

/// What is left in the account.
fn left(limiter: &RateLimiter) -> u64 {
    limiter.standing(&()).get(1).expect("two quotas").remaining()
}

/// Takes so many steps, drops what there is, and says how far it came.
async fn check(fate: Fate, settled: Settled, steps: u32) -> &'static str {
    let limiter = limiter();
    let waits = !matches!(fate, Fate::Passes);
    if waits {
        limiter.check_n(&(), COST).unwrap();
    }
    let up_to = if matches!(fate, Fate::Denied) { 1 } else { 1500 };
    let called = Arc::new(AtomicBool::new(false));
    let calls = called.clone();
    let inner = service_fn(move |_: Request<()>| {
        calls.store(true, Relaxed);
        Answer(Slow::default())
    });
    let layer = layer(&limiter, settled, Duration::from_millis(up_to)).any_body();
    let mut service = layer.layer(ConcurrencyLimit::new(inner, 1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut before = left(&limiter);

    let mut call = Box::pin(service.call(Request::new(())));
    let (mut body, mut status, mut frames, mut ended) = (None, None, 0, false);
    for step in 0..steps {
        if step == 1 && waits {
            tokio::time::advance(Duration::from_secs(1)).await;
            if matches!(fate, Fate::DeniedAfterWaiting) {
                limiter.check_n(&(), COST).unwrap(); // overtakes it
                before -= COST;
            }
        }
        match &mut body {
            None => {
                if let Poll::Ready(response) = call.as_mut().poll(&mut cx) {
                    let (head, whole) = response.unwrap().into_parts();
                    (status, body) = (Some(head.status), Some(Box::pin(whole)));
                }
            }
            Some(body) if !ended => match body.as_mut().poll_frame(&mut cx) {
                Poll::Ready(Some(_)) => frames += 1,
                Poll::Ready(None) => ended = true,
                Poll::Pending => {}
            },
            Some(_) => {}
        }
    }
    drop(call);
    drop(body);

    let denied = status == Some(StatusCode::TOO_MANY_REQUESTS);
    let (stage, cost) = match (status, called.load(Relaxed)) {
        (None, false) => ("before the service", 0),
        (Some(_), false) => ("denied", 0),
        (None, true) => ("in the service", COST),
        (Some(_), true) => {
            let stage = if ended { "ended" } else { "in the body" };
            let cost = match settled {
                Settled::Never => COST,
                Settled::ByHead => SAID,
                Settled::ByBody => frames,
            };
            (stage, cost)
        }
    };
    let what = format!("{fate:?}, settled {settled:?}, dropped after {steps} steps, {stage}");
    assert_eq!(denied, stage == "denied", "{what}");
    assert_eq!(before - left(&limiter), cost, "{what}");
    assert_eq!(limiter.stats().waiters, 0, "{what}");
    assert!(service.poll_ready(&mut cx).is_ready(), "readiness is given back: {what}");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(limiter.check_n(&(), COST).is_ok(), "nobody stands in the way: {what}");
    stage
}

#[tokio::test(start_paused = true)]
async fn wherever_it_is_dropped() {
    for (fate, expected) in [
        (Fate::Passes, &["ended", "in the body", "in the service"][..]),
        (Fate::PassesAfterWaiting, &["before the service", "ended", "in the body", "in the service"]),
        (Fate::Denied, &["before the service", "denied"]),
        (Fate::DeniedAfterWaiting, &["before the service", "denied"]),
    ] {
        for settled in [Settled::Never, Settled::ByHead, Settled::ByBody] {
            let mut stages = BTreeSet::new();
            for steps in 0..14 {
                stages.insert(check(fate, settled, steps).await);
            }
            assert_eq!(stages.into_iter().collect::<Vec<_>>(), expected, "every stage was met: {fate:?}, {settled:?}");
        }
    }
}

/// A future may panic then, and this one does where it has nothing to give. But it counts nothing twice.
#[tokio::test(start_paused = true)]
async fn polled_again_after_it_was_ready_it_counts_nothing_twice() {
    let mut cx = Context::from_waker(Waker::noop());
    for fate in [Fate::Passes, Fate::Denied, Fate::DeniedAfterWaiting] {
        let limiter = limiter();
        if !matches!(fate, Fate::Passes) {
            limiter.check_n(&(), COST).unwrap();
        }
        let up_to = if matches!(fate, Fate::Denied) { 1 } else { 1500 };
        let inner = service_fn(|_: Request<()>| Answer(Slow::default()));
        let layer = layer(&limiter, Settled::ByHead, Duration::from_millis(up_to)).any_body();
        let mut call = Box::pin(layer.layer(inner).call(Request::new(())));
        if matches!(fate, Fate::DeniedAfterWaiting) {
            assert!(call.as_mut().poll(&mut cx).is_pending());
            tokio::time::advance(Duration::from_secs(1)).await;
            limiter.check_n(&(), COST).unwrap();
        }
        while call.as_mut().poll(&mut cx).is_pending() {}
        let before = left(&limiter);
        let again = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..4 {
                let _ = call.as_mut().poll(&mut cx);
            }
        }));
        // This service answers again when it is asked again; nothing is settled again.
        assert_eq!(again.is_ok(), matches!(fate, Fate::Passes), "{fate:?}");
        drop(call);
        assert_eq!((left(&limiter), limiter.stats().waiters), (before, 0), "{fate:?}");
    }
}
