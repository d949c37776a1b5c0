//! Speed of routing and recording, and simulations of what the statistics promise.
//!
//! ```text
//! cargo bench --bench experiments                  both
//! cargo bench --bench experiments -- speed         nanoseconds and allocations of route, expose, outcome
//! cargo bench --bench experiments -- simulate      error rates, power, coverage; fails where a promise is not kept
//! ```
//! Peers of the routing: `cargo bench -p riskcycle-peers --bench routing`.

#[path = "experiments/simulate.rs"]
mod simulate;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, ExperimentStatistics,
    ExposureToken, HashRouter, Holdout, LayerRange, Metric, Mode, RecorderConfig, Router,
    RoutingConfig,
};
use riskcycle::stats::LatencyHistogram;
use riskcycle::{EntityKey, ModelRef, Signature, Timestamp, days};

/// Counts what the system's allocator hands out.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// The allocator's own trait is unsafe; every call goes straight to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let kept = match args.first().map(String::as_str) {
        None => {
            speed();
            simulate::run()
        }
        Some("speed") => {
            speed();
            true
        }
        Some("simulate") => simulate::run(),
        Some(other) => {
            eprintln!("error: {other} is not known; known are speed and simulate");
            return ExitCode::FAILURE;
        }
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const NOW: Timestamp = Timestamp::from_date(2026, 1, 5);
const CALLS: u64 = 1_000_000;
/// Calls timed together.
const SHORT: u64 = 16;

fn speed() {
    println!(
        "nanoseconds per call, by batches of 16             p50     p99    mean   allocations per call"
    );
    let atomic = AtomicU64::new(0);
    measure("an atomic addition, to compare with", |_| {
        atomic.fetch_add(1, Ordering::Relaxed);
    });
    let base = RoutingConfig::new("card-fraud-7", &[500_000, 500_000]);
    let layer = Some(LayerRange { layer: "scoring".into(), from: 0, to: 900_000 });
    let layered = RoutingConfig { layer, exposure_ppm: 800_000, ..base.clone() };
    let full = RoutingConfig {
        holdout: Some(Holdout { name: "2026".into(), share_ppm: 50_000 }),
        overrides: (0..100).map(|unit| (EntityKey(u64::MAX - unit), 1)).collect(),
        let_through_ppm: 20_000,
        ..layered.clone()
    };
    for (name, config) in [
        ("route, two arms", base.clone()),
        ("route, with layer and exposure", layered),
        ("route, with all: holdout, overrides, let-through", full),
    ] {
        let router = HashRouter::configured(config).expect("sound settings");
        measure(name, |i| {
            black_box(router.route(black_box(EntityKey(i)), i, NOW));
        });
    }
    let router = HashRouter::new("card-fraud-7", &[500_000, 500_000]).expect("sound settings");
    let names: Vec<String> = (0..1024).map(|i| format!("customer-{i:012}")).collect();
    measure("route, text key of 21 bytes", |i| {
        let unit = EntityKey::from(names[(i % 1024) as usize].as_str());
        black_box(router.route(unit, i, NOW));
    });

    let sign = Signature::new("bench", "bench", NOW);
    let version = |version| ModelRef { name: "m".into(), version };
    let config = ExperimentConfig {
        name: "bench".into(),
        arms: vec![version(1), version(2)],
        routing: base,
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::UnitBadRate, 100_000, 1_000_000),
    };
    let experiment = Experiment::new(config, sign).expect("a sound plan");
    experiment.start(sign).expect("a draft");
    let router = experiment.router();
    // Requests of so many units in turn, as a portfolio sends them. A token is made when it is recorded, as a host does.
    let token_of = |units: u64, i: u64| {
        let unit = EntityKey(i.wrapping_mul(0x9E37_79B9) % units);
        let assignment = router.route(unit, i, NOW);
        let score = (i % 1000) as f64 / 1000.0;
        let token = ExposureToken::new(&assignment, unit, i, NOW, Some(score), score > 0.9);
        token.expect("everybody takes part").with_amount(1000).with_latency(500)
    };
    let bad = |token: &ExposureToken| token.request().is_multiple_of(500);
    let later = NOW.plus(days(3));
    let room = RecorderConfig::default();
    for units in [1000, 50_000] {
        let token = |i| token_of(units, i);
        // Most calls put their token down; in a batch of 1280 ten have counted what was put down.
        for (batch, which) in [(SHORT, "most calls"), (1280, "all calls")] {
            let recorder = ExperimentRecorder::new(&experiment, room).expect("sound settings");
            measure_made(&format!("expose, {units} units, {which}"), batch, token, |token| {
                recorder.expose(token);
            });
            measure_made(&format!("outcome, {units} units, {which}"), batch, token, |token| {
                recorder.outcome(token, bad(token), later);
            });
        }
    }
    let mut statistics = ExperimentStatistics::new(&experiment, room).expect("sound settings");
    for units in [1000, 50_000] {
        let token = |i| token_of(units, i);
        statistics = ExperimentStatistics::new(&experiment, room).expect("sound settings");
        measure_made(&format!("expose, {units} units, own counts"), SHORT, token, |token| {
            black_box(statistics.expose(token));
        });
        measure_made(&format!("outcome, {units} units, own counts"), SHORT, token, |token| {
            black_box(statistics.outcome(token, bad(token), later));
        });
    }
    let start = Instant::now();
    let report = experiment.report(&statistics, NOW.plus(days(60)));
    println!("a report of {CALLS} requests: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    black_box(report);
}

fn measure(name: &str, mut call: impl FnMut(u64)) {
    measure_made(name, SHORT, |i| i, |i| call(*i));
}

/// Times `call` alone, by batches of so many, on what `make` makes of the call's number; what the clock itself takes is not counted.
fn measure_made<T>(name: &str, batch: u64, make: impl Fn(u64) -> T, mut call: impl FnMut(&T)) {
    let clock = (0..1000).map(|_| Instant::now().elapsed().as_nanos() as u64).min().unwrap_or(0);
    let mut histogram = LatencyHistogram::default();
    let (mut made, mut allocations) = (Vec::with_capacity(batch as usize), 0);
    for number in 0..CALLS / batch {
        made.clear();
        made.extend((number * batch..(number + 1) * batch).map(&make));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        made.iter().for_each(&mut call);
        let nanos = (start.elapsed().as_nanos() as u64).saturating_sub(clock);
        allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
        // In tenths of a nanosecond.
        histogram.record(nanos * 10 / batch);
    }
    let tenths = |q: f64| histogram.quantile(q).unwrap_or(0) as f64 / 10.0;
    println!(
        "{name:<48} {:>6.1}  {:>6.1}   {}",
        tenths(0.5),
        tenths(0.99),
        allocations as f64 / CALLS as f64
    );
}
