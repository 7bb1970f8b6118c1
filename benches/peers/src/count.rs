//! The same work a given number of times inside of one function, for a tool that counts its instructions: callgrind, with
//! `--toggle-collect=*repeat_measured*`.

use std::convert::Infallible;
use std::hint::black_box;

use axum::body::Body;
use governor::clock::DefaultClock;
use http::{Request, Response};
use tollgate::RateLimiter;
use tollgate_benches::service::Hello;
use tower::Service;

use crate::layer::{self, Work as LayerWork};
use crate::limiters::{Governor, Work};

pub fn run(what: &str, times: &str) {
    let times: u64 = times.parse().expect("a number of times");
    let (kind, how) = what.rsplit_once(' ').expect("what, and allowed or denied");
    let (work, layer_work) = match how {
        "allowed" => (Work::allowed(), LayerWork::Allowed),
        "denied" => (Work::denied(), LayerWork::Denied),
        _ => panic!("allowed or denied, not {how}"),
    };
    match kind {
        "check, tollgate" => {
            let limiter = RateLimiter::new(work.ours);
            warmed_up(times, &mut || _ = black_box(limiter.check(black_box(&42_u64))));
        }
        "check, governor" => {
            let limiter: Governor<u64> = work.governor(DefaultClock::default());
            warmed_up(times, &mut || _ = black_box(limiter.check_key(black_box(&42_u64))));
        }
        "service, bare" => ask(&mut Hello, times),
        "service, tollgate" => ask(&mut layer::tollgate(layer_work), times),
        "service, tollgate with draft headers" => ask(&mut layer::with_draft_headers(layer_work), times),
        "service, tower_governor" => ask(&mut layer::tower_governor(layer_work), times),
        "service, axum-governor" => ask(&mut layer::axum_governor(layer_work), times),
        _ => panic!("nothing is called {kind}"),
    }
}

fn ask<S, B>(service: &mut S, times: u64)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    warmed_up(times, &mut || layer::ask(service));
}

/// The first time is another one, and not counted.
fn warmed_up(times: u64, work: &mut dyn FnMut()) {
    work();
    work();
    repeat_measured(times, work);
}

#[inline(never)]
fn repeat_measured(times: u64, work: &mut dyn FnMut()) {
    for _ in 0..times {
        work();
    }
}
