//! How soon drift is noticed, how often without cause, and what it costs. River beside it: `benches/peers/drift.py`, which calls
//! this.
//!
//! ```text
//! cargo bench --bench drift -- table    false alarms and delays on seven changes of a rate, 200 seeded runs each
//! cargo bench --bench drift -- speed    nanoseconds per update, row, record and query
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use riskcycle::alert::{AlertConfig, AlertEngine};
use riskcycle::dataset::Dataset;
use riskcycle::drift::{
    AccuracyDrop, AccuracyDropConfig, Adwin, AdwinConfig, AnyDetector, Baseline, Cusum,
    CusumConfig, Ddm, DdmConfig, Direction, DriftConfig, DriftDetector, DriftWindow, EDetector,
    EDetectorConfig, Eddm, EddmConfig, HddmA, HddmAConfig, HddmW, HddmWConfig, Inputs, Kswin,
    KswinConfig, PageHinkley, PageHinkleyConfig, ProfileConfig, ReferenceProfile, Signal, Stepd,
    StepdConfig, ValueRange,
};
use riskcycle::evaluate::{Decision, DecisionBands};
use riskcycle::experiment::Assignment;
use riskcycle::monitor::{Answer, Gaps, Monitor, MonitorConfig, Outcome, Traffic};
use riskcycle::monitoring::{Monitoring, MonitoringConfig};
use riskcycle::ndarray::Array2;
use riskcycle::seed::stable_hash;
use riskcycle::serve::{InputFlags, Prediction};
use riskcycle::stats::population_stability_index;
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Timestamp};

fn main() {
    let mode = std::env::args().skip(1).find(|arg| arg != "--bench");
    match mode.as_deref() {
        Some("table") => table(),
        Some("speed") => speed(),
        _ => println!("table or speed; see the head of benches/drift.rs"),
    }
}

/// SplitMix64: quick enough not to be what is measured.
struct Rng(u64);

impl Rng {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A rate before, a rate after, rows that the way there takes, rows before and after.
struct Change {
    name: &'static str,
    before: f64,
    after: f64,
    ramp: u64,
    rows: (u64, u64),
}

const CHANGES: [Change; 7] = [
    Change { name: ".20 > .50", before: 0.2, after: 0.5, ramp: 0, rows: (5000, 5000) },
    Change { name: ".20 > .30", before: 0.2, after: 0.3, ramp: 0, rows: (5000, 5000) },
    Change { name: ".20 > .25", before: 0.2, after: 0.25, ramp: 0, rows: (5000, 5000) },
    Change { name: ".10 > .40 over 1000", before: 0.1, after: 0.4, ramp: 1000, rows: (5000, 5000) },
    Change { name: ".01 > .03", before: 0.01, after: 0.03, ramp: 0, rows: (20_000, 20_000) },
    Change { name: ".002 > .008", before: 0.002, after: 0.008, ramp: 0, rows: (20_000, 30_000) },
    Change { name: ".002 > .004", before: 0.002, after: 0.004, ramp: 0, rows: (20_000, 30_000) },
];

/// What a table row is made with, given the rate before; `None` where the detector refuses.
type Make = Box<dyn Fn(f64, u64) -> Option<Box<dyn DriftDetector>>>;

/// Alarms every so many rows, whatever they are: what any other one must be better than.
#[derive(Debug)]
struct Dummy(u64);

impl DriftDetector for Dummy {
    fn name(&self) -> &'static str {
        "dummy"
    }

    fn update(&mut self, _: f64) -> Signal {
        self.0 += 1;
        if self.0.is_multiple_of(1000) { Signal::Drift } else { Signal::Stable }
    }

    fn reset(&mut self) {
        self.0 = 0;
    }

    fn inputs(&self) -> Inputs {
        Inputs { observed: self.0, rejected: 0 }
    }
}

fn e_detector(run_length: f64, baseline: Baseline) -> Option<Box<dyn DriftDetector>> {
    let config = EDetectorConfig { run_length, ..EDetectorConfig::new(baseline) };
    Some(Box::new(EDetector::new(config).ok()?))
}

fn detectors() -> Vec<(&'static str, Make)> {
    fn plain<D: DriftDetector + Clone>(detector: D) -> Make {
        Box::new(move |_, _| Some(Box::new(detector.clone())))
    }
    let adwin = AdwinConfig { range: ValueRange::Unit, ..AdwinConfig::default() };
    let up = PageHinkleyConfig { direction: Direction::Up, ..PageHinkleyConfig::default() };
    let kswin = KswinConfig { clock: 30, ..KswinConfig::default() };
    vec![
        ("dummy, every 1000", Box::new(|_, _| Some(Box::new(Dummy(0))))),
        ("e-detector 1e4, known", Box::new(|p, _| e_detector(1e4, Baseline::Mean(p)))),
        ("e-detector 1e5, known", Box::new(|p, _| e_detector(1e5, Baseline::Mean(p)))),
        (
            "e-detector 1e5, of 20k rows",
            Box::new(|p, seed| {
                let mut rng = Rng(seed ^ 0xABCD);
                let positives = (0..20_000).filter(|_| rng.uniform() < p).count() as u64;
                e_detector(1e5, Baseline::Rate { n: 20_000, positives })
            }),
        ),
        ("ADWIN", plain(Adwin::new(adwin).expect("valid"))),
        ("DDM", plain(Ddm::new(DdmConfig::default()).expect("valid"))),
        ("DDM, as published", plain(Ddm::new(DdmConfig::published()).expect("valid"))),
        ("EDDM", plain(Eddm::new(EddmConfig::default()).expect("valid"))),
        ("HDDM-A", plain(HddmA::new(HddmAConfig::default()).expect("valid"))),
        ("HDDM-W", plain(HddmW::new(HddmWConfig::default()).expect("valid"))),
        ("Page-Hinkley", plain(PageHinkley::new(up).expect("valid"))),
        (
            "CUSUM, h = 5",
            Box::new(|p, _| {
                let config = CusumConfig {
                    direction: Direction::Up,
                    ..CusumConfig::new(p, (p * (1.0 - p)).sqrt())
                };
                Some(Box::new(Cusum::new(config).ok()?))
            }),
        ),
        ("STEPD", plain(Stepd::new(StepdConfig::default()).expect("valid"))),
        ("KSWIN, every 30", plain(Kswin::new(kswin).expect("valid"))),
        (
            "accuracy drop 0.1",
            Box::new(|p, _| {
                Some(Box::new(AccuracyDrop::new(AccuracyDropConfig::new(1.0 - p)).ok()?))
            }),
        ),
    ]
}

const RUNS: u64 = 200;

fn table() {
    println!(
        "false alarms per 10,000 rows before the change / median rows to the first alarm after it (runs without one)"
    );
    print!("{:<28}", "");
    CHANGES.iter().for_each(|change| print!("{:>26}", change.name));
    println!();
    for (name, make) in detectors() {
        print!("{name:<28}");
        for (index, change) in CHANGES.iter().enumerate() {
            let (mut alarms, mut rows) = (0u64, 0u64);
            let (mut delays, mut missed, mut refused) = (Vec::new(), 0, 0);
            for run in 0..RUNS {
                let seed = stable_hash(&run.to_le_bytes(), index as u64);
                let Some(mut detector) = make(change.before, seed) else {
                    refused += 1;
                    continue;
                };
                let mut rng = Rng(seed);
                let (before, after) = change.rows;
                rows += before;
                for _ in 0..before {
                    let value = f64::from(rng.uniform() < change.before);
                    alarms += u64::from(detector.update(value) == Signal::Drift);
                }
                let delay = (0..after).find(|&i| {
                    let way = if change.ramp == 0 {
                        1.0
                    } else {
                        (i as f64 / change.ramp as f64).min(1.0)
                    };
                    let rate = change.before + way * (change.after - change.before);
                    detector.update(f64::from(rng.uniform() < rate)) == Signal::Drift
                });
                match delay {
                    Some(delay) => delays.push(delay + 1),
                    None => missed += 1,
                }
            }
            delays.extend(std::iter::repeat_n(u64::MAX, missed));
            delays.sort_unstable();
            let median = delays.get(delays.len() / 2).copied();
            let median = median.filter(|d| *d < u64::MAX).map_or("never".into(), |d| d.to_string());
            let share = |n: usize| 100.0 * n as f64 / RUNS as f64;
            let missed =
                if missed > 0 { format!(" ({:.0}%)", share(missed)) } else { String::new() };
            let refused =
                if refused > 0 { format!(" -{:.0}%", share(refused)) } else { String::new() };
            let false_alarms = alarms as f64 * 1e4 / rows.max(1) as f64;
            print!("{:>26}", format!("{false_alarms:.3} / {median}{missed}{refused}"));
        }
        println!();
    }
    println!("-n%: runs whose reference had fewer than 30 positives; the detector refuses it");
}

/// Calls timed together.
const BATCH: u64 = 100;

/// Median over batches of calls, in nanoseconds per call: whatever else the machine does falls into few of them.
fn median_nanos(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let batches = (0..calls / BATCH).map(|batch| {
        let start = Instant::now();
        (batch * BATCH..(batch + 1) * BATCH).for_each(&mut call);
        start.elapsed().as_nanos() as f64 / BATCH as f64
    });
    median(batches.collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn speed() {
    println!("{:<40} {:>10}", "median of batches of 100", "ns/call");
    let tell = |name: &str, nanos: f64| println!("{name:<40} {nanos:>10.1}");
    let atomic = AtomicU64::new(0);
    let add = |_| {
        atomic.fetch_add(1, Ordering::Relaxed);
    };
    tell("an atomic addition, to compare with", median_nanos(1_000_000, add));
    updates(tell);
    queries(tell);
    records(tell);
}

fn updates(tell: impl Fn(&str, f64)) {
    let mut rng = Rng(1);
    let values: Vec<f64> = (0..200_000).map(|_| f64::from(rng.uniform() < 0.01)).collect();
    let e_detector = EDetector::new(EDetectorConfig::new(Baseline::Mean(0.01))).expect("valid");
    let cusum = Cusum::new(CusumConfig { threshold: 1e9, ..CusumConfig::new(0.01, 0.1) });
    let every = |clock| AdwinConfig { clock, range: ValueRange::Unit, ..AdwinConfig::default() };
    let page_hinkley = PageHinkley::new(PageHinkleyConfig::default());
    let all = [
        ("e-detector", AnyDetector::EDetector(e_detector)),
        ("ADWIN, every 32", AnyDetector::Adwin(Adwin::new(every(32)).expect("valid"))),
        ("ADWIN, every 1", AnyDetector::Adwin(Adwin::new(every(1)).expect("valid"))),
        ("DDM", AnyDetector::Ddm(Ddm::new(DdmConfig::default()).expect("valid"))),
        ("EDDM", AnyDetector::Eddm(Eddm::new(EddmConfig::default()).expect("valid"))),
        ("HDDM-A", AnyDetector::HddmA(HddmA::new(HddmAConfig::default()).expect("valid"))),
        ("HDDM-W", AnyDetector::HddmW(HddmW::new(HddmWConfig::default()).expect("valid"))),
        ("Page-Hinkley", AnyDetector::PageHinkley(page_hinkley.expect("valid"))),
        ("CUSUM", AnyDetector::Cusum(cusum.expect("valid"))),
        ("STEPD", AnyDetector::Stepd(Stepd::new(StepdConfig::default()).expect("valid"))),
        ("KSWIN", AnyDetector::Kswin(Kswin::new(KswinConfig::default()).expect("valid"))),
    ];
    for (name, mut detector) in all {
        let update = |i: u64| {
            black_box(detector.update(black_box(values[i as usize])));
        };
        tell(name, median_nanos(values.len() as u64, update));
    }
}

fn queries(tell: impl Fn(&str, f64)) {
    for n_bins in [10, 64] {
        let counts: Vec<u64> = (0..n_bins).map(|i| 100 + i * 7 % 91).collect();
        let other: Vec<u64> = (0..n_bins).map(|i| 90 + i * 5 % 83).collect();
        let ask = |_| {
            black_box(population_stability_index(black_box(&counts), black_box(&other)));
        };
        tell(&format!("PSI of {n_bins} bins"), median_nanos(20_000, ask));
    }
}

fn records(tell: impl Fn(&str, f64)) {
    let start = Timestamp::from_date(2024, 1, 1);
    let champion = ModelRef { name: "m".into(), version: 1 };
    let traffic = Traffic::new();
    let series = traffic.series(&champion, None);
    traffic.tick(start);
    let outcome = Outcome::Scored { score: 0.3, decision: Decision::Approve };
    let answer = |i: u64| {
        let latency = Duration::from_nanos(5000 + i % 1000);
        Answer { at: start.plus(Duration::from_micros(i)), outcome, latency, gaps: Gaps::default() }
    };
    let record = |i| series.record(black_box(&answer(i)));
    tell("count an answer in its series", median_nanos(1_000_000, record));

    let unit = EntityKey(1);
    let mut prediction = Prediction {
        id: 0,
        at: start,
        unit,
        assignment: Assignment::champion(),
        model: champion.clone(),
        score: Some(0.3),
        bands: DecisionBands::review_from(0.5).expect("valid"),
        decision: Decision::Approve,
        fallback: None,
        inputs: InputFlags::default(),
        reasons: Vec::new(),
        exposure: None,
    };
    let monitor = Monitor::new(MonitorConfig::default()).expect("valid");
    // Noting and filing by turns: the host's tick files.
    let mut ticks = Vec::new();
    let note = |i: u64| {
        prediction.id = i;
        monitor.record(black_box(&prediction), Duration::from_nanos(5000), Gaps::default());
    };
    let median_note = by_turns(1_000_000, 5000, note, || {
        let since = Instant::now();
        monitor.tick(start);
        ticks.push(since.elapsed().as_nanos() as f64 / 5000.0);
    });
    tell("record a prediction", median_note);
    tell("  and file it at the tick", median(ticks));

    let mut rng = Rng(1);
    let names = (0..200).map(|i| format!("f{i}"));
    let rows: Vec<f64> = (0..2000 * 200).map(|_| rng.uniform()).collect();
    let features = Array2::from_shape_vec((2000, 200), rows).expect("2000 rows of 200");
    let labels = (0..2000).map(|i| i % 50 == 0).collect();
    let schema = FeatureSchema::new(names).expect("different names");
    let data = Dataset::new(schema, features, labels).expect("a label per row");
    for n_bins in [10, 32] {
        let config = ProfileConfig { n_bins, ..ProfileConfig::default() };
        let profile = ReferenceProfile::new(&data, &vec![0.5; 2000], &config).expect("valid");
        let window =
            DriftWindow::new(Arc::new(profile.clone()), DriftConfig::default()).expect("valid");
        let observe = |i: u64| {
            window.observe_row(black_box(data.row(i as usize % 2000)), None).expect("200 values");
        };
        tell(&format!("row of 200 features, {n_bins} bins each"), median_nanos(50_000, observe));
        let alerts = AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new());
        let (config, alerts) = (MonitoringConfig::default(), alerts.expect("no rules"));
        let monitoring = Monitoring::new(config, champion.clone(), profile, alerts).expect("valid");
        let record = |i: u64| {
            let row = black_box(data.row(i as usize % 2000));
            prediction.id = i;
            monitoring.record(&prediction, row, Duration::from_nanos(5000)).expect("200 values");
        };
        let nanos = by_turns(50_000, 5000, record, || drop(monitoring.tick(start)));
        tell("  record a prediction with it", nanos);
    }
}

/// [`median_nanos`] of `call`, with `then` after every so many calls.
fn by_turns(calls: u64, turn: u64, mut call: impl FnMut(u64), mut then: impl FnMut()) -> f64 {
    let turns = (0..calls / turn).map(|i| {
        let nanos = median_nanos(turn, |j| call(i * turn + j));
        then();
        nanos
    });
    median(turns.collect())
}
