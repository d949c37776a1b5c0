//! What an answer costs, how answers scale with threads while models are swapped, and what an explanation costs.
//!
//! ```text
//! cargo bench --bench serving -- predict                      nanoseconds per answer, one thread
//! cargo bench --bench serving -- threads                      answers per second on 1 and 2 threads, a swap every millisecond
//! cargo bench --bench serving -- explain                      microseconds per explanation
//! cargo bench --bench serving -- explain MODEL ROWS OUT       the same of a LightGBM model for rows of doubles; benches/peers/shap.py
//! ```
//!
//! The model is 100 complete trees of depth 6 on 30 features, thresholds and rows at random: nothing to predict for the
//! processor.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use riskcycle::experiment::Assignment;
use riskcycle::model::{
    Combine, Explainer, ImportOptions, Link, Model, ModelExt, Output, Precision, Question, Split,
    Tree, TreeEnsemble, TreeExplainer, TreeNode,
};
use riskcycle::serve::{DecisionBands, Deployment, Lineup, ModelService, Request, SlotConfig};
use riskcycle::stats::LatencyHistogram;
use riskcycle::{Clock, EntityKey, FeatureSchema, ModelRef, SystemClock, Timestamp};

const FEATURES: usize = 30;
const DEPTH: u32 = 6;
const TREES: usize = 100;
const ROWS: usize = 4096;
const SLOT: &str = "cards";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["predict"] => predict(),
        ["threads"] => threads(),
        ["explain"] => explain(&TreeExplainer::new(&model(1)).expect("covers are there"), &rows()),
        ["explain", model, rows, out] => explain_foreign(model, rows, out),
        _ => println!("predict, threads or explain; see the head of benches/serving.rs"),
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1u64 << 24) as f64
    }
}

fn schema() -> FeatureSchema {
    FeatureSchema::new((0..FEATURES).map(|i| format!("f{i}"))).expect("thirty names")
}

fn tree(rng: &mut Rng) -> Tree {
    let n_inner = (1u32 << DEPTH) - 1;
    let node = |i: u32| {
        let (value, cover) = (rng.uniform() - 0.5, f64::from(1 << (DEPTH - (i + 1).ilog2())));
        let leaf = TreeNode::leaf(value / 10.0, cover);
        if i >= n_inner {
            return leaf;
        }
        let split = Split {
            feature: (rng.next() % FEATURES as u64) as u32,
            question: Question::AtMost(rng.uniform()),
            missing_left: rng.next().is_multiple_of(2),
            also_missing: None,
            left: 2 * i + 1,
            right: 2 * i + 2,
        };
        TreeNode { split: Some(split.into()), ..leaf }
    };
    Tree::new((0..2 * n_inner + 1).map(node).collect()).expect("a complete tree")
}

fn model(seed: u64) -> TreeEnsemble {
    let mut rng = Rng(seed);
    let trees = (0..TREES).map(|_| tree(&mut rng)).collect();
    let link = Link::Logistic { slope: 1.0 };
    let output = Output { base: 0.0, combine: Combine::Sum, precision: Precision::Double, link };
    TreeEnsemble::new(schema(), trees, output).expect("trees over the schema")
}

fn rows() -> Vec<f64> {
    let mut rng = Rng(7);
    (0..ROWS * FEATURES).map(|_| rng.uniform()).collect()
}

fn deployment(version: u32) -> Deployment {
    let version = ModelRef { name: "bench".into(), version };
    let bands = DecisionBands::new(0.5, 0.9).expect("bands");
    Deployment::new(version.clone(), Arc::new(model(u64::from(version.version))), bands)
}

fn service(config: SlotConfig) -> ModelService {
    let service = ModelService::default();
    service.open(SLOT, schema(), config, Lineup::new(deployment(1))).expect("a sound lineup");
    service
}

fn request(i: usize, row: &[f64]) -> Request<'_> {
    let (id, unit) = (i as u64, EntityKey(i as u64));
    Request {
        assignment: Assignment::champion(),
        ..Request::new(id, Timestamp::default(), unit, row)
    }
}

/// Median, 99 % and mean nanoseconds of 300,000 calls on rows in turn, after 50,000 to warm up. The quantiles have two readings of
/// the clock in them, the mean does not.
fn measure(name: &str, rows: &[f64], mut call: impl FnMut(usize, &[f64])) {
    const CALLS: usize = 300_000;
    let row = |i: usize| &rows[i % ROWS * FEATURES..][..FEATURES];
    (0..50_000).for_each(|i| call(i, row(i)));
    let mut latency = LatencyHistogram::default();
    for i in 0..CALLS {
        let start = Instant::now();
        call(i, row(i));
        latency.record(start.elapsed().as_nanos() as u64);
    }
    let start = Instant::now();
    (0..CALLS).for_each(|i| call(i, row(i)));
    let mean = start.elapsed().as_nanos() as f64 / CALLS as f64;
    let [p50, p99] = [0.5, 0.99].map(|q| latency.quantile(q).expect("calls were counted"));
    println!("{name:<40} {p50:>6} {p99:>6} {mean:>8.1}");
}

fn predict() {
    let rows = rows();
    println!("{:<40} {:>6} {:>6} {:>8}", "ns", "p50", "p99", "mean");
    let clock = SystemClock;
    measure("nothing", &rows, |i, _| {
        black_box(i);
    });
    measure("reading the clock", &rows, |_, _| {
        black_box(clock.nanos());
    });
    let alone = model(1);
    measure("the model alone", &rows, |_, row| {
        black_box(alone.score_row(row).expect("a row"));
    });
    let service = service(SlotConfig::default());
    let mut predictor = service.predictor(SLOT).expect("open");
    measure("predictor", &rows, |i, row| {
        black_box(predictor.predict(&request(i, row)).expect("a row"));
    });
    let turned: Vec<usize> = (0..FEATURES).rev().collect();
    let caller = schema().select(&turned).expect("the same columns");
    let mut bound = service.predictor(SLOT).expect("open").with_layout(&caller).expect("bound");
    measure("predictor, columns in another order", &rows, |i, row| {
        black_box(bound.predict(&request(i, row)).expect("a row"));
    });
    measure("service, slot by name", &rows, |i, row| {
        black_box(service.predict(SLOT, &request(i, row)).expect("a row"));
    });
}

/// Nanoseconds that this thread has run on a processor; `None` where the system does not say (it is Linux that does).
fn on_processor() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Answers per second of so many threads together, by the clock on the wall and by the time that the threads were given a
/// processor. `answerer` makes what answers one row after the other.
fn throughput<A: FnMut(usize)>(
    threads: usize,
    answerer: impl Fn() -> A + Sync,
    mut every_millisecond: impl FnMut(),
) -> [f64; 2] {
    const TIME: Duration = Duration::from_millis(500);
    let (done, answerer) = (&AtomicBool::new(false), &answerer);
    let mut rates = [0.0; 2];
    std::thread::scope(|scope| {
        let work = move |thread: usize| {
            let (mut answer, mut answers) = (answerer(), 0u64);
            let (start, running) = (Instant::now(), on_processor());
            while !done.load(Ordering::Relaxed) {
                answer(thread * 1000 + answers as usize);
                answers += 1;
            }
            let ran = running.zip(on_processor()).map_or(f64::NAN, |(from, to)| (to - from) as f64);
            [start.elapsed().as_secs_f64(), ran / 1e9].map(|seconds| answers as f64 / seconds)
        };
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let start = Instant::now();
        while start.elapsed() < TIME {
            std::thread::sleep(Duration::from_millis(1));
            every_millisecond();
        }
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            let of = worker.join().expect("no panic");
            rates.iter_mut().zip(of).for_each(|(sum, rate)| *sum += rate);
        }
    });
    rates
}

fn threads() {
    const ROUNDS: usize = 8;
    let (rows, service) = (&rows(), &service(SlotConfig::default()));
    let lineups = [1, 2].map(|version| Lineup::new(deployment(version)));
    let scores = |lineup: &Lineup| {
        let mut scores = vec![0.0; ROWS];
        lineup.arms[0].model.score(rows, &mut scores).expect("rows");
        scores
    };
    let (expected, alone) = (&lineups.each_ref().map(scores), &model(1));
    let row = |i: usize| &rows[i % ROWS * FEATURES..][..FEATURES];
    let bare = || {
        |i: usize| {
            black_box(alone.score_row(row(i)).expect("a row"));
        }
    };
    let served = || {
        let mut predictor = service.predictor(SLOT).expect("open");
        move |i: usize| {
            let answer = predictor.predict(&request(i, row(i))).expect("a row");
            let own = expected[answer.model.version as usize - 1][i % ROWS];
            assert_eq!(answer.score, Some(own), "not its own version's score");
        }
    };
    let mut swaps = 0;
    let mut swap = || {
        swaps += 1;
        service.deploy(SLOT, lineups[swaps % 2].clone()).expect("a sound lineup");
    };
    // In turns, so that all see the same machine; the best of each, which is that with the least of other work beside it.
    let mut best = [[[0.0f64; 2]; 2]; 3];
    for _ in 0..ROUNDS {
        for threads in [1, 2] {
            let rates = [
                throughput(threads, bare, || ()),
                throughput(threads, served, || ()),
                throughput(threads, served, &mut swap),
            ];
            for (best, rates) in best.iter_mut().zip(rates) {
                let best = best[threads - 1].iter_mut().zip(rates);
                best.for_each(|(best, rate)| *best = best.max(rate));
            }
        }
    }
    println!("answers per second, best of {ROUNDS} rounds, every score checked");
    println!("{:<28} {:>25} {:>25}", "", "by the clock", "by processor time");
    let names = ["the model alone", "predictors", "a swap every millisecond"];
    for (name, [one, two]) in names.iter().zip(best) {
        let column =
            |by: usize| format!("{:>9.0} {:>9.0} {:.2}x", one[by], two[by], two[by] / one[by]);
        println!("{name:<28} {:>25} {:>25}", column(0), column(1));
    }
}

fn explain(explainer: &dyn Explainer, rows: &[f64]) {
    let n = explainer.schema().n_features();
    let (mut contributions, mut best) = (vec![0.0; n], f64::INFINITY);
    for _ in 0..5 {
        let start = Instant::now();
        for row in rows.chunks_exact(n) {
            explainer.explain(row, &mut contributions).expect("a row");
            black_box(&contributions);
        }
        let micros = start.elapsed().as_secs_f64() * 1e6 / (rows.len() / n) as f64;
        best = best.min(micros);
    }
    println!("{best:.2} us per row, one thread, best of 5");
}

fn explain_foreign(model: &str, rows: &str, out: &str) {
    let text = std::fs::read(model).expect("a model file");
    let model = TreeEnsemble::from_lightgbm(&text, &ImportOptions::default()).expect("a model");
    let bytes = std::fs::read(rows).expect("a file of rows");
    let values = bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")));
    let rows: Vec<f64> = values.collect();
    let explainer = model.explainer().expect("covers are there");
    explain(&*explainer, &rows);
    let n = model.schema().n_features();
    let mut contributions = vec![0.0; rows.len()];
    for (row, out) in rows.chunks_exact(n).zip(contributions.chunks_exact_mut(n)) {
        explainer.explain(row, out).expect("a row");
    }
    let written: Vec<u8> = contributions.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(out, written).expect("a place to write");
}
