//! Waiting: first come first served for each key, within bounds, and without a trace when given up.
//!
//! Time is tokio's, paused, and the limiter follows it: all waits are exact and take no time.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tollgate::{Clock, NotReady, Plan, Policy, Quota, RateLimiter, RateLimiterBuilder};

use crate::random::Random;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn builder(limit: &str) -> RateLimiterBuilder {
    let policy: Policy = limit.parse().expect("a limit");
    RateLimiter::builder(policy).capacity(1024).clock(Clock::tokio())
}

fn limiter(limit: &str) -> RateLimiter {
    builder(limit).build()
}

/// Who passed, and when, by the limiter's clock.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(usize, Duration)>>>);

impl Log {
    /// Has a task wait for `cost`, and note when it passed. It has its place in the queue when this returns.
    async fn wait(&self, limiter: &RateLimiter, key: &str, who: usize, cost: u64) -> JoinHandle<Result<(), NotReady>> {
        let (log, clock, ready) = (self.clone(), limiter.clock().clone(), limiter.until_ready_n(key, cost));
        let task = tokio::spawn(async move {
            ready.await?;
            log.0.lock().unwrap().push((who, clock.elapsed()));
            Ok(())
        });
        yield_now().await;
        task
    }

    fn passed(&self) -> Vec<(usize, Duration)> {
        self.0.lock().unwrap().clone()
    }
}

/// Counts how often it wakes.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Counting {
    fn new() -> (Arc<Self>, Waker) {
        let counting = Arc::new(Self::default());
        (counting.clone(), Waker::from(counting))
    }

    fn woken(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_key_pass_in_their_order_and_at_its_pace() {
    for (limit, expected) in [
        ("10/second burst 1", vec![0, 100, 200, 300, 400, 500, 600]),
        ("10/second burst 3", vec![0, 0, 0, 100, 200, 300, 400]),
        ("3/second fixed", vec![0, 0, 0, 1000, 1000, 1000, 2000]),
        ("4/second sliding", vec![0, 0, 0, 0, 1250, 1500, 1750]),
        ("10/second burst 2; 3 per 5 seconds fixed", vec![0, 0, 100, 5000, 5000, 5100, 10000]),
    ] {
        let limiter = limiter(limit);
        let log = Log::default();
        for who in 0..expected.len() {
            log.wait(&limiter, "key", who, 1).await;
        }
        sleep(Duration::from_secs(60)).await;
        let expected: Vec<_> = expected.into_iter().map(ms).enumerate().collect();
        assert_eq!(log.passed(), expected, "{limit}");
        assert_eq!(limiter.stats().waiters, 0, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_wait_for_each_other() {
    let limiter = limiter("1/hour");
    let log = Log::default();
    for who in 0..3 {
        log.wait(&limiter, "busy", who, 1).await;
    }
    for key in 0..100 {
        limiter.until_ready(&key).await.unwrap();
    }
    assert_eq!(limiter.clock().elapsed(), Duration::ZERO);
    assert_eq!(log.passed().len(), 1);
    assert_eq!(limiter.stats().waiters, 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_whatever_they_ask_for() {
    let limiter = limiter("1/second burst 5");
    limiter.check_n("key", 5).unwrap();
    let log = Log::default();
    log.wait(&limiter, "key", 0, 5).await;
    sleep(ms(2500)).await;
    // Two are there, which would do for this one.
    assert_eq!(limiter.peek("key").remaining(), 2);
    log.wait(&limiter, "key", 1, 1).await;
    // A bound of zero asks for now, but does not overtake either.
    let refused = limiter.until_ready("key").within(Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, NotReady::TooLong(_)));
    sleep(ms(10_000)).await;
    assert_eq!(log.passed(), [(0, ms(5000)), (1, ms(6000))]);
    // What costs nothing waits for nobody.
    log.wait(&limiter, "key", 2, 5).await;
    log.wait(&limiter, "key", 3, 5).await;
    limiter.until_ready_n("key", 0).within(Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_by_the_first_poll() {
    let limiter = limiter("10/second burst 1");
    limiter.check("key").unwrap();
    let created_first = limiter.until_ready("key");
    assert_eq!(limiter.stats().waiters, 0);
    let log = Log::default();
    log.wait(&limiter, "key", 1, 1).await;
    created_first.await.unwrap();
    assert_eq!(log.passed(), [(1, ms(100))]);
    assert_eq!(limiter.clock().elapsed(), ms(200));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_gives_the_place_back_and_has_charged_nothing() {
    for limit in ["10/second burst 1", "10/second burst 1; 1000/hour fixed; 1000/minute sliding"] {
        let limiter = limiter(limit);
        let log = Log::default();
        let mut tasks = Vec::new();
        for who in 0..10 {
            tasks.push(log.wait(&limiter, "key", who, 1).await);
        }
        // The first of the queue, one behind it, and the last; 0 has passed.
        for gone in [1, 4, 9] {
            tasks[gone].abort();
        }
        sleep(ms(10_000)).await;
        let expected: Vec<_> =
            [0, 2, 3, 5, 6, 7, 8].into_iter().enumerate().map(|(turn, who)| (who, ms(100 * turn as u64))).collect();
        assert_eq!(log.passed(), expected, "{limit}");
        assert_eq!(limiter.stats().waiters, 0);
    }

    // All of them, and the key is as it was.
    let limiter = limiter("1/second burst 7; 100/hour fixed");
    limiter.check_n("key", 7).unwrap();
    let before = limiter.peek("key");
    let log = Log::default();
    for who in 0..50 {
        log.wait(&limiter, "key", who, 1 + who as u64 % 7).await.abort();
    }
    yield_now().await;
    assert_eq!((limiter.peek("key"), limiter.stats().waiters), (before, 0));
    assert_eq!(log.passed(), []);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_waiters_is_bounded() {
    let limiter = builder("1/second").waiters(3).build();
    let log = Log::default();
    let mut tasks = Vec::new();
    for (who, key) in ["a", "a", "a", "b", "b"].into_iter().enumerate() {
        tasks.push(log.wait(&limiter, key, who, 1).await);
    }
    assert_eq!(limiter.stats().waiters, 3);
    for key in ["a", "b"] {
        let refused = limiter.until_ready(key).await.unwrap_err();
        assert!(matches!(refused, NotReady::TooManyWaiters(_)));
        assert!(!refused.denied().is_permanent());
    }
    // What need not wait, may pass.
    limiter.until_ready("c").await.unwrap();
    // A place given back can be taken, for any key.
    tasks[4].abort();
    yield_now().await;
    log.wait(&limiter, "c", 5, 1).await;
    assert_eq!(limiter.clock().elapsed(), Duration::ZERO);
    sleep(ms(5000)).await;
    let mut passed = log.passed();
    passed.sort_unstable();
    assert_eq!(passed, [(0, ms(0)), (1, ms(1000)), (2, ms(2000)), (3, ms(0)), (5, ms(1000))]);

    let nobody = builder("1/second").waiters(0).build();
    nobody.until_ready("key").await.unwrap();
    assert!(matches!(nobody.until_ready("key").await.unwrap_err(), NotReady::TooManyWaiters(_)));
}

/// Whoever has a thousand requests wait for one key leaves places for all the others.
#[tokio::test(start_paused = true)]
async fn one_key_does_not_take_every_waiters_place() {
    let limiter = builder("1/hour").build();
    let (log, mut tasks) = (Log::default(), Vec::new());
    for key in ["crowded", "quiet"] {
        limiter.check(key).unwrap();
    }
    for who in 0..1024 {
        tasks.push(log.wait(&limiter, "crowded", who, 1).await);
    }
    let refused = limiter.until_ready("crowded").await.unwrap_err();
    assert!(matches!(refused, NotReady::TooManyWaiters(_)));
    tasks.push(log.wait(&limiter, "quiet", 1024, 1).await);
    assert_eq!(limiter.stats().waiters, 1025);
    // A place given back can be taken again.
    tasks[500].abort();
    yield_now().await;
    tasks.push(log.wait(&limiter, "crowded", 1025, 1).await);
    assert_eq!(limiter.stats().waiters, 1025);
    tasks.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_pass_is_refused_at_once() {
    for limit in ["3/hour", "3/hour fixed", "3/hour sliding", "3/hour strict", "3/hour; 100/second", "0/second"] {
        let limiter = limiter(limit);
        let check = async |waiting: usize| {
            let refused = limiter.until_ready_n("key", 4).await.unwrap_err();
            assert!(matches!(refused, NotReady::Never(_)), "{limit}");
            assert!(refused.denied().is_permanent());
            assert_eq!((limiter.stats().waiters, limiter.clock().elapsed()), (waiting, Duration::ZERO));
        };
        check(0).await;
        if limiter.policy().quotas().all(|(_, quota)| quota.limit() > 0) {
            // Also while others wait.
            let log = Log::default();
            for who in 0..5 {
                log.wait(&limiter, "key", who, 1).await;
            }
            check(2).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_refuses_at_once_what_it_can_foresee() {
    for (limit, waits) in [
        ("10/second burst 1", vec![100, 200, 300, 400, 500]),
        ("3/second fixed", vec![1000, 1000, 1000, 2000, 2000]),
        ("4/second sliding", vec![1250, 1500, 1750, 2000]),
        ("10/second burst 2; 3 per 5 seconds fixed", vec![100, 5000, 5000, 5000, 10_000]),
    ] {
        let limiter = limiter(limit);
        let clock = limiter.clock().clone();
        while limiter.check("key").is_ok() {}
        let mut tasks = Vec::new();
        for wait in waits {
            let within = |bound: Duration| limiter.until_ready("key").within(bound);
            for bound in [Duration::ZERO, ms(wait / 2), ms(wait) - Duration::from_nanos(1)] {
                let refused = within(bound).await.unwrap_err();
                assert!(matches!(refused, NotReady::TooLong(_)), "{limit}");
                assert_eq!(refused.denied().retry_after(), Some(ms(wait)), "{limit}");
                assert_eq!(clock.elapsed(), Duration::ZERO);
            }
            tasks.push(tokio::spawn(within(ms(wait))));
            yield_now().await;
        }
        // What was foreseen comes true (or, with several quotas, is the least).
        if limiter.policy().quotas().len() == 1 {
            for task in tasks {
                task.await.unwrap().expect(limit);
            }
            assert_eq!(limiter.stats().waiters, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_holds_when_others_ask_directly() {
    let limiter = limiter("1/second");
    let clock = limiter.clock().clone();
    limiter.check("key").unwrap();
    let wait = |bound| {
        let (ready, clock) = (limiter.until_ready("key").within(bound), clock.clone());
        tokio::spawn(async move { (ready.await, clock.elapsed()) })
    };
    let (first, second, third) = (wait(ms(1500)), wait(ms(2700)), wait(ms(10_000)));
    // Each token is taken as it comes, just before the first could. It finds out that it comes too late when it tries;
    // the second when its time is over.
    sleep(ms(999)).await;
    for _ in 0..3 {
        sleep(ms(1)).await;
        limiter.check("key").unwrap();
        sleep(ms(999)).await;
    }
    let (answer, at) = first.await.unwrap();
    assert!(matches!(answer.unwrap_err(), NotReady::TooLong(_)));
    assert_eq!(at, ms(1000));
    let (answer, at) = second.await.unwrap();
    assert!(matches!(answer.unwrap_err(), NotReady::TooLong(_)));
    assert_eq!(at, ms(2000));
    let (answer, at) = third.await.unwrap();
    assert!(answer.is_ok());
    assert_eq!(at, ms(4000));

    // One that never becomes the first.
    let blocked = limiter.until_ready("key");
    let mut blocked = pin!(blocked);
    let mut cx = Context::from_waker(Waker::noop());
    limiter.check("key").unwrap_err();
    assert!(blocked.as_mut().poll(&mut cx).is_pending());
    let behind = wait(ms(5000));
    yield_now().await;
    let (answer, at) = behind.await.unwrap();
    let refused = answer.unwrap_err();
    assert!(matches!(refused, NotReady::TooLong(_)));
    assert_eq!(at, ms(9001));
    assert_eq!(limiter.stats().waiters, 1);
    blocked.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn forgetting_what_a_key_spent_wakes_who_waits_for_it() {
    let limiter = limiter("1/hour burst 3");
    let log = Log::default();
    for who in 0..8 {
        log.wait(&limiter, "key", who, 1).await;
    }
    assert_eq!(log.passed().len(), 3);
    sleep(ms(5)).await;
    limiter.reset("another");
    limiter.reset("key");
    for _ in 0..10 {
        yield_now().await;
    }
    let passed: Vec<_> = log.passed().into_iter().map(|(who, _)| who).collect();
    assert_eq!(passed, [0, 1, 2, 3, 4, 5]);
    assert_eq!(limiter.clock().elapsed(), ms(5));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_is_asked_now_and_then() {
    for (limit, at_most) in [("1/second", 11), ("1000000000/second burst 1", 10_001)] {
        let clock = Clock::manual();
        let policy: Policy = limit.parse().unwrap();
        let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
        limiter.check("key").unwrap();
        let mut polls = 0;
        let mut ready = pin!(limiter.until_ready("key"));
        let counted = std::future::poll_fn(|cx| {
            polls += 1;
            ready.as_mut().poll(cx)
        });
        assert!(timeout(ms(10_000), counted).await.is_err());
        assert!(polls <= at_most, "{polls} polls in 10 s, {limit}");
        // The bound is in tokio's time.
        let refused = limiter.until_ready("key").within(ms(5000)).await.unwrap_err();
        assert!(matches!(refused, NotReady::TooLong(_)));
        clock.advance(ms(1000));
        ready.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_wakes_who_waits_under_the_old_one() {
    let limiter = limiter("1/hour");
    let log = Log::default();
    for who in 0..3 {
        log.wait(&limiter, "key", who, 1).await;
        log.wait(&limiter, "other", 10 + who, 1).await;
    }
    sleep(ms(1000)).await;
    limiter.replace_policy("10/second burst 1".parse::<Policy>().unwrap()).unwrap();
    sleep(ms(1000)).await;
    let mut passed = log.passed();
    passed.retain(|(who, _)| *who < 10);
    assert_eq!(passed, [(0, ms(0)), (1, ms(1100)), (2, ms(1200))]);
    assert_eq!((log.passed().len(), limiter.stats().waiters), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_queue_whatever_its_plan_and_the_unlimited_pass_it() {
    let limiter = builder("1/second").plan("pro", "10/second burst 1".parse::<Policy>().unwrap()).unwrap().build();
    let pro = limiter.on(limiter.plan("pro").unwrap()).unwrap();
    let log = Log::default();
    for who in 0..3 {
        log.wait(&limiter, "key", who, 1).await;
    }
    log.wait(&pro, "key", 3, 1).await;
    log.wait(&limiter.on(Plan::UNLIMITED).unwrap(), "key", 4, 1).await;
    assert_eq!(log.passed(), [(0, ms(0)), (4, ms(0))]);
    sleep(ms(10_000)).await;
    let order: Vec<_> = log.passed().into_iter().map(|(who, _)| who).collect();
    assert_eq!(order, [0, 4, 1, 2, 3]);
}

/// So late that no algorithm can tell the time any more.
#[tokio::test(start_paused = true)]
async fn past_the_end_of_time_nobody_waits_in_vain() {
    for limit in ["1/second", "1/second fixed", "1/second sliding", "2/second strict", "1/second; 1/hour"] {
        let clock = Clock::manual();
        let policy: Policy = limit.parse().unwrap();
        let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
        clock.advance(Duration::from_secs(50 * 366 * 86_400));
        while limiter.check("key").is_ok() {}
        let refused = limiter.until_ready("key").await.unwrap_err();
        assert!(matches!(refused, NotReady::Never(_)), "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_waker_is_the_one_that_is_woken() {
    let limiter = limiter("1/hour");
    limiter.check("key").unwrap();
    let (mut head, mut next) = (Box::pin(limiter.until_ready("key")), Box::pin(limiter.until_ready("key")));
    let ((_, noop), (old, old_waker), (new, new_waker)) = (Counting::new(), Counting::new(), Counting::new());
    assert!(head.as_mut().poll(&mut Context::from_waker(&noop)).is_pending());
    assert!(next.as_mut().poll(&mut Context::from_waker(&old_waker)).is_pending());
    assert!(next.as_mut().poll(&mut Context::from_waker(&new_waker)).is_pending());
    drop(head);
    assert_eq!((old.woken(), new.woken()), (0, 1));
    // And only once: who is woken looks again.
    limiter.reset("key");
    assert_eq!((old.woken(), new.woken()), (0, 1));
    assert!(next.as_mut().poll(&mut Context::from_waker(&new_waker)).is_ready());
    // Nothing holds on to a waker that is not needed any more.
    drop(next);
    drop((old_waker, new_waker));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
}

#[test]
fn a_wait_can_be_sent_to_another_task() {
    fn is_send<T: Send + Sync + 'static>(_: &T) {}
    let limiter = RateLimiter::new(Quota::per_second(1));
    let key = String::from("key");
    is_send(&limiter.until_ready(&key).within(ms(1)));
}

/// Law 1, for each quota, over the times at which waiters of random costs passed, some of whom had gone away.
#[tokio::test(start_paused = true)]
async fn never_more_passes_than_the_limit_says() {
    for (limit, bursts) in [
        ("20/second burst 5", vec![(5, 20.0)]),
        ("7/second burst 7; 50/minute burst 20", vec![(7, 7.0), (20, 50.0 / 60.0)]),
    ] {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let limiter = limiter(limit);
        let log = Log::default();
        let mut costs = Vec::new();
        let mut arrived: Vec<JoinHandle<_>> = Vec::new();
        for who in 0..2000 {
            costs.push(1 + random.below(5));
            arrived.push(log.wait(&limiter, "key", who, costs[who]).await);
            if random.below(3) == 0 {
                let gone = random.below(arrived.len() as u64) as usize;
                arrived[gone].abort();
            }
            if random.below(4) == 0 {
                sleep(ms(random.below(400))).await;
            }
        }
        sleep(Duration::from_secs(20_000)).await;
        assert_eq!(limiter.stats().waiters, 0);
        let passed = log.passed();
        assert!(passed.len() > 1000, "{}", passed.len());
        assert!(passed.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order of arrival");
        for (burst, rate) in bursts {
            for (start, (_, from)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (who, at) in &passed[start..] {
                    sum += costs[*who];
                    let most = f64::from(burst) + rate * (*at - *from).as_secs_f64();
                    assert!(sum as f64 <= most + 1e-6, "{limit}: {sum} between {from:?} and {at:?}");
                }
            }
        }
    }
}

/// Many tasks on several threads, for few keys, some giving up: nobody is left asleep, and the books balance.
#[test]
fn no_wakeup_is_lost() {
    const TASKS: usize = 32;
    const WAITS: u64 = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let limiter = RateLimiter::builder(Quota::per_second(40_000).burst(20)).capacity(1024).build();
    let passed = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (limiter, passed) = (limiter.clone(), passed.clone());
                tokio::spawn(async move {
                    let mut random = Random(task as u64 + 1);
                    for _ in 0..WAITS {
                        let mut ready = pin!(limiter.until_ready(&random.below(2)));
                        if random.below(4) == 0 {
                            // Polled a few times, and given up.
                            for _ in 0..random.below(4) {
                                let once = std::future::poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx).is_ready()));
                                if once.await {
                                    passed.fetch_add(1, Relaxed);
                                    break;
                                }
                                yield_now().await;
                            }
                        } else {
                            ready.await.unwrap();
                            passed.fetch_add(1, Relaxed);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(limiter.stats().waiters, 0);
    // Of two keys, neither could pass more than this.
    let most = 2.0 * (20.0 + 40_000.0 * limiter.clock().elapsed().as_secs_f64());
    assert!(passed.load(Relaxed) as f64 <= most);
    assert!(passed.load(Relaxed) >= TASKS * WAITS as usize / 2);
}
