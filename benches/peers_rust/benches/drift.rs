//! Streaming drift detection by riskcycle, irithyll-core, rill-ml and driftwatch: nanoseconds per update and per PSI query.
//!
//! ```text
//! cargo bench -p riskcycle-peers --bench drift
//! ```
//! Each detector is given the same stream, one value in a hundred is 1, with its own default parameters. river and its kernel:
//! `benches/peers/drift.py`.

use std::hint::black_box;
use std::time::Instant;

use driftwatch::{EqualFrequencyBinning, ReferenceDistribution, StreamingMonitor};
use irithyll_core::drift::DriftDetector as _;
use rill_ml::drift::DriftDetector as _;
use riskcycle::drift::{
    Adwin, AdwinConfig, Ddm, DdmConfig, DriftDetector as _, Kswin, KswinConfig, PageHinkley,
    PageHinkleyConfig, ValueRange,
};
use riskcycle::stats::population_stability_index;

fn main() {
    let values: Vec<f64> = (0..100_000).map(|i| f64::from(uniform(i) < 0.01)).collect();
    println!("{:<34} {:>12}", "", "ns/update");

    let mut adwin = Adwin::new(AdwinConfig { range: ValueRange::Unit, ..AdwinConfig::default() })
        .expect("valid");
    measure("ADWIN, riskcycle", &values, |value| adwin.update(value));
    let mut adwin = irithyll_core::drift::adwin::Adwin::new();
    measure("ADWIN, irithyll-core", &values, |value| adwin.update(value));
    let mut adwin = rill_ml::drift::Adwin::default();
    // Its window costs more with every value: a twentieth of the stream has to do.
    measure("ADWIN, rill-ml", &values[..5000], |value| adwin.update(value));

    let mut page_hinkley = PageHinkley::new(PageHinkleyConfig::default()).expect("valid");
    measure("Page-Hinkley, riskcycle", &values, |value| page_hinkley.update(value));
    let mut page_hinkley = irithyll_core::drift::pht::PageHinkleyTest::new();
    measure("Page-Hinkley, irithyll-core", &values, |value| page_hinkley.update(value));
    let mut page_hinkley = rill_ml::drift::PageHinkley::default();
    measure("Page-Hinkley, rill-ml", &values, |value| page_hinkley.update(value));

    let mut ddm = Ddm::new(DdmConfig::default()).expect("valid");
    measure("DDM, riskcycle", &values, |value| ddm.update(value));
    let mut ddm = irithyll_core::drift::ddm::Ddm::new();
    measure("DDM, irithyll-core", &values, |value| ddm.update(value));

    // rill-ml compares whole windows, once in a hundred values.
    let config = KswinConfig { clock: 100, ..KswinConfig::default() };
    let mut kswin = Kswin::new(config).expect("valid");
    measure("KSWIN every 100, riskcycle", &values[..20_000], |value| kswin.update(value));
    let mut kswin = rill_ml::drift::Kswin::default();
    measure("KSWIN every 100, rill-ml", &values[..20_000], |value| kswin.update(value));

    let reference: Vec<f64> = (0..10_000).map(uniform).collect();
    let live: Vec<f64> = (0..10_000).map(|i| 0.8 * uniform(20_000 + i)).collect();
    let counts = |values: &[f64]| {
        let mut counts = [0u64; 10];
        values.iter().for_each(|value| counts[((value * 10.0) as usize).min(9)] += 1);
        counts
    };
    let (before, now) = (counts(&reference), counts(&live));
    println!("{:<34} {:>12}", "", "ns/query");
    query("PSI of 10 bins, riskcycle", 100_000, || {
        population_stability_index(black_box(&before), black_box(&now))
    });
    let binning = EqualFrequencyBinning::default();
    let reference = ReferenceDistribution::fit_continuous("x", &reference, binning).expect("valid");
    let mut monitor = StreamingMonitor::new();
    monitor.add_feature(&reference, 0.25).expect("a continuous feature");
    measure("count a value, driftwatch", &live, |value| monitor.update("x", value).expect("known"));
    query("PSI of 10 bins, driftwatch", 1000, || monitor.report());
}

/// SplitMix64.
fn uniform(i: u64) -> f64 {
    let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Median over batches of 100 calls: whatever else the machine does falls into few of them.
fn measure<R>(name: &str, values: &[f64], mut update: impl FnMut(f64) -> R) {
    const BATCH: usize = 100;
    let batches = values.chunks_exact(BATCH).map(|batch| {
        let start = Instant::now();
        for value in batch {
            black_box(update(black_box(*value)));
        }
        start.elapsed().as_nanos() as f64 / BATCH as f64
    });
    let mut batches: Vec<f64> = batches.collect();
    batches.sort_unstable_by(f64::total_cmp);
    println!("{name:<34} {:>12.1}", batches[batches.len() / 2]);
}

fn query<R>(name: &str, times: usize, mut ask: impl FnMut() -> R) {
    measure(name, &vec![0.0; times], |_| ask());
}
