//! The ways in for bytes from outside. Each takes any bytes, mends their checksums so that what lies behind is reached,
//! and panics if the library does what it must not: panic, take more memory than the bytes allow, accept what it then
//! writes differently.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use riskcycle::dataset::{CsvFeature, CsvLayout};
use riskcycle::drift::{DriftConfig, DriftCounts, DriftWindow, ReferenceProfile};
use riskcycle::event::CsvSource;
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentStatistics, ExposureToken, Metric, Mode,
    RecorderConfig, Router, RoutingConfig,
};
use riskcycle::feature::{
    Aggregate, Current, FeatureSet, Labels, OnlineConfig, OnlineFeatures, Width, Zone,
};
use riskcycle::model::{
    AveragedModel, CalibratedModel, GoldenRows, ImportOptions, LogisticModel, MissingValue, Model,
    ModelCodecs, PipelineModel, Scorecard, TreeEnsemble, TreeRange,
};
use riskcycle::monitor::{MonitorConfig, MonitorCounts};
use riskcycle::registry::{Artifact, DirectoryRegistryLog, LoadOptions, RegistryLog};
use riskcycle::serve::{ServiceStats, ServingStats};
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::train::{JsonLinesRunLog, JsonLinesTuningJournal, RunLog, TuningJournal};
use riskcycle::{
    Categories, Digest, EntityKey, FeatureKind, FeatureSchema, ModelRef, Signature, Timestamp, days,
};

use super::meter::bounded;

/// Some weeks after all that the seeds hold.
const LATER: Timestamp = Timestamp::from_date(2026, 3, 1);
/// Memory per byte that a binary format may take.
const BINARY: usize = 4;
/// Memory per byte that a format may take that leaves out what is zero.
const SPARSE: usize = 512;
/// Memory per byte that a text may take: `1,` is two bytes and becomes a number of eight in lists that double.
const TEXT: usize = 64;

/// Kinds of models, by the first byte of [`model`]'s input.
pub const KINDS: [&str; 6] = [
    LogisticModel::KIND,
    Scorecard::KIND,
    TreeEnsemble::KIND,
    PipelineModel::KIND,
    CalibratedModel::KIND,
    AveragedModel::KIND,
];

/// What models in seeds take: every kind of column.
pub fn schema() -> FeatureSchema {
    let housing = Categories::new(["rent", "own", "free"]).unwrap();
    FeatureSchema::with_kinds([
        ("amount", FeatureKind::Numeric),
        ("night", FeatureKind::Boolean),
        ("housing", FeatureKind::Categorical(housing)),
    ])
    .unwrap()
}

/// An artifact, its lengths, checksums and seal mended.
pub fn artifact(bytes: &[u8]) {
    let bytes = mended_artifact(bytes);
    let options = LoadOptions::default();
    let loaded = bounded("an artifact", BINARY, &bytes, |b| Artifact::from_bytes(b, &options));
    if let Ok(artifact) = loaded {
        use_model(artifact.model.as_ref());
        let again = artifact.to_bytes();
        let loaded = Artifact::from_bytes(&again, &options).expect("what was loaded loads again");
        assert_eq!(loaded.to_bytes(), again, "writing is not stable");
    }
}

/// A model's bytes behind a byte for its kind.
pub fn model(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let codecs = ModelCodecs::default();
    let decode = |bytes: &[u8]| codecs.decode(kind, schema(), bytes);
    if let Ok(model) = bounded(kind, BINARY, bytes, decode) {
        use_model(model.as_ref());
        let again = model.to_bytes();
        let decoded = decode(&again).expect("what was decoded decodes again");
        assert_eq!(decoded.to_bytes(), again, "{kind}: writing is not stable");
    }
}

/// A model file of another library behind a byte for the library and the options.
pub fn foreign(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else { return };
    let options = ImportOptions {
        missing: [None, Some(MissingValue::Nan), Some(MissingValue::Value(0.0))]
            [usize::from(way / 4 % 3)],
        trees: (way / 16 % 2 == 1).then_some(TreeRange::All),
        link: None,
    };
    let import = |bytes: &[u8]| match way % 4 {
        0 => TreeEnsemble::from_xgboost(bytes, &options),
        1 => TreeEnsemble::from_lightgbm(bytes, &options),
        2 => TreeEnsemble::from_scikit_learn(bytes),
        _ => {
            let golden = GoldenRows::from_json(bytes)?;
            let rows = golden.rows().len() / golden.expected().len();
            assert_eq!(golden.rows().len(), rows * golden.expected().len());
            Err(riskcycle::Error::Empty { what: "not a model".into() })
        }
    };
    if let Ok(model) = bounded("an import", TEXT, bytes, import) {
        use_model(&model);
        let again = model.to_bytes();
        let decoded = TreeEnsemble::from_bytes(model.schema().clone(), &again);
        assert!(decoded.expect("what was imported can be kept") == model);
    }
}

/// What processes hand each other, behind a byte that says what it is.
pub fn state(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else { return };
    match way % 7 {
        0 => snapshot(bytes),
        1 => {
            let bytes = with_crc(bytes);
            let config = RecorderConfig { requests: 64, units: 64, days: 40 };
            let read = |b: &[u8]| ExperimentStatistics::from_bytes(&EXPERIMENT, config, b);
            // A phase's sums are some ten kilobytes however few bytes follow, so its bound is above a mebibyte.
            let (read, peak) = super::meter::metered(|| read(&bytes));
            assert!(peak <= BINARY * bytes.len() + (8 << 20), "statistics took {peak} bytes");
            if let Ok(mut statistics) = read {
                let again = |statistics: &ExperimentStatistics| {
                    let bytes = statistics.to_bytes();
                    let read = ExperimentStatistics::from_bytes(&EXPERIMENT, config, &bytes);
                    assert_eq!(read.expect("what was written reads again").to_bytes(), bytes);
                };
                again(&statistics);
                expose(&mut statistics, &token(), true);
                let _ = EXPERIMENT.report(&statistics, LATER);
                if statistics.merge(&statistics.clone()).is_ok() {
                    again(&statistics);
                    let _ = EXPERIMENT.report(&statistics, LATER);
                }
            }
        }
        2 => {
            let bytes = with_crc(bytes);
            if let Ok(token) = bounded("a token", BINARY, &bytes, ExposureToken::from_bytes) {
                assert_eq!(token.to_bytes()[..], bytes);
                let config = RecorderConfig { requests: 64, units: 64, days: 40 };
                let mut statistics = ExperimentStatistics::new(&EXPERIMENT, config).unwrap();
                expose(&mut statistics, &token, bytes[0] & 1 == 1);
                let read =
                    ExperimentStatistics::from_bytes(&EXPERIMENT, config, &statistics.to_bytes());
                let _ = EXPERIMENT.report(&read.expect("what was counted reads again"), LATER);
            }
        }
        3 => {
            let bytes = with_crc(bytes);
            let read = bounded("a profile", BINARY, &bytes, ReferenceProfile::from_bytes);
            if let Ok(profile) = read {
                assert_eq!(profile.to_bytes(), bytes);
                watch(Arc::new(profile));
            }
        }
        4 => {
            let bytes = with_crc(bytes);
            let read = bounded("service statistics", SPARSE, &bytes, ServiceStats::from_bytes);
            if let Ok(stats) = read {
                let mut sum = ServiceStats::from_bytes(&stats.to_bytes()).unwrap();
                assert_eq!(sum, stats);
                if sum.merge(&stats).is_ok() {
                    assert_eq!(ServiceStats::from_bytes(&sum.to_bytes()).unwrap(), sum);
                }
                let mut all = ServingStats::default();
                sum.slots.values().flat_map(|of| of.values()).for_each(|of| all.merge(of));
                let _ = (all.error_rate(), all.fallback_rate(), all.missing_rate());
                let _ = (all.scores.mean(), all.scores.count(), all.mean_latency());
                let _ = (all.latency.quantile(0.5), all.latency.quantile(0.999));
            }
        }
        5 => {
            let bytes = with_crc(bytes);
            let read = bounded("monitor counts", SPARSE, &bytes, MonitorCounts::from_bytes);
            if let Ok(counts) = read {
                assert_eq!(counts.to_bytes(), bytes);
                let mut sum = counts.clone();
                if sum.merge(&counts).is_ok() {
                    assert_eq!(MonitorCounts::from_bytes(&sum.to_bytes()).unwrap(), sum);
                }
                let all = Timestamp::from_micros(i64::MIN)..Timestamp::from_micros(i64::MAX);
                let traffic = sum.traffic(None, &all);
                let _ = (traffic.mean_score(), traffic.mean_latency(), traffic.scored());
                let _ = traffic.latency_quantile(0.99);
                for ledger in sum.outcomes().values() {
                    let _ = (ledger.labels(&all), ledger.expected(&all), ledger.calibration(&all));
                    let _ = ledger.performance(all.clone(), LATER);
                    let _ = (ledger.reports(true).completeness(LATER), ledger.reports(true).n());
                }
                let _ = sum.findings(&MonitorConfig::default(), LATER);
            }
        }
        _ => {
            let bytes = with_crc(bytes);
            let read = bounded("drift counts", BINARY, &bytes, DriftCounts::from_bytes);
            if let Ok(counts) = read {
                assert_eq!(counts.to_bytes(), bytes);
                let mut sum = counts.clone();
                if sum.merge(&counts).is_ok() {
                    assert_eq!(DriftCounts::from_bytes(&sum.to_bytes()).unwrap(), sum);
                }
                let _ = sum.n_rows();
                let _ = sum.report(&PROFILE, &DriftConfig::default());
            }
        }
    }
}

/// Lets an experiment count a request and its label, and the same label again.
fn expose(statistics: &mut ExperimentStatistics, token: &ExposureToken, bad: bool) {
    statistics.expose(token);
    for _ in 0..2 {
        statistics.outcome(token, bad, LATER);
    }
}

/// A request of the experiment.
fn token() -> ExposureToken {
    let (unit, at) = (EntityKey(3), Timestamp::from_date(2026, 1, 7));
    let assignment = EXPERIMENT.router().route(unit, 1 << 40, at);
    let token = ExposureToken::new(&assignment, unit, 1 << 40, at, Some(0.25), false);
    token.expect("an arm of the experiment answers").with_amount(i64::MAX)
}

/// Counts rows on a reference and judges them.
fn watch(profile: Arc<ReferenceProfile>) {
    let width = profile.schema().n_features();
    let Ok(window) = DriftWindow::new(profile.clone(), DriftConfig::default()) else { return };
    for value in [f64::NAN, 0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, -1e300] {
        let _ = window.observe_row(&vec![value; width], None);
        let _ = window.observe_score(Some(0.5), None);
    }
    let counts = window.take(Timestamp::default(), LATER);
    let _ = counts.report(&profile, &DriftConfig::default());
}

/// A file behind a byte that says what it is: text, or an entry of a registry's log.
pub fn text(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else { return };
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::temp_dir().join(format!("riskcycle-hostile-{}", std::process::id()))
    });
    std::fs::write(&*FILE, bytes).unwrap();
    // A gzipped line may be a thousand times as long as its bytes, in a buffer that doubles; a file is read in pieces.
    let limit = 2200 * bytes.len() + (2 << 20);
    let ((), peak) = super::meter::metered(|| match way % 5 {
        0 => {
            if let Ok(mut source) = CsvSource::open(&*FILE, &["id", "amount", "note"]) {
                while let Ok(Some(row)) = source.next_row() {
                    let _ = (row.u64(0), row.i64(0), row.f64(1), row.flag(1), row.money(1, 2));
                    let _ = row.text(2);
                }
            }
        }
        1 => {
            let mut layout = CsvLayout::new("label", "1");
            layout.features = vec![
                CsvFeature::numeric("amount"),
                CsvFeature::boolean("night"),
                CsvFeature::categorical("housing"),
            ];
            layout.time_seconds = Some("time".into());
            let _ = layout.read(&*FILE);
        }
        2 => {
            if let Ok(mut journal) = JsonLinesTuningJournal::open(&*FILE) {
                let _ = journal.entries();
            }
        }
        3 => {
            if let Ok(log) = JsonLinesRunLog::open(&*FILE) {
                let _ = log.runs();
            }
        }
        _ => {
            let folder = FILE.with_extension("log");
            let log = DirectoryRegistryLog::open(&folder).unwrap();
            std::fs::write(log.path(1), bytes).unwrap();
            let _ = log.read(0, 2);
            std::fs::remove_dir_all(folder).unwrap();
        }
    });
    std::fs::remove_file(&*FILE).unwrap();
    assert!(peak <= limit, "a text of {} bytes took {peak} bytes of memory at once", bytes.len());
}

/// A snapshot of live features without its seal; then life goes on from it.
fn snapshot(bytes: &[u8]) {
    /// The magic, the definition's fingerprint and the lateness.
    const HEAD: usize = 21 + 32 + 8;
    static FEATURES: LazyLock<OnlineFeatures<Transaction>> = LazyLock::new(features);
    static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| features().snapshot());
    let mut mended = bytes.to_vec();
    mended.resize(bytes.len().max(HEAD), 0);
    mended[..HEAD].copy_from_slice(&EMPTY[..HEAD]);
    let seal = Digest::of(&mended);
    mended.extend(seal.as_bytes());
    // A key takes 16 numbers of bookkeeping for each of its windows, however few events follow.
    let (restored, peak) = super::meter::metered(|| FEATURES.restore(&mended));
    let limit = 16 * mended.len() + (2 << 20);
    assert!(peak <= limit, "a snapshot of {} bytes took {peak} bytes", mended.len());
    if restored.is_ok() {
        let mut row = vec![0.0; FEATURES.schema().n_features()];
        for (i, customer) in [(1, 0), (41, 1), (100_000, 2), (1_000_000, 0)] {
            let event = transaction(i, customer);
            let _ = FEATURES.observe(&event, &mut row);
            let _ = FEATURES.label(&event, true);
        }
        FEATURES.restore(&FEATURES.snapshot()).expect("what was restored restores again");
    }
}

/// Live features with every kind of window, and with what keeps state of its own; nothing seen yet.
pub fn features() -> OnlineFeatures<Transaction> {
    let (day, hop) = (days(1), Duration::from_secs(3600));
    let (field, of, label) = ("amount".to_owned(), "customer".to_owned(), "fraud".to_owned());
    let sawtooth = Width::Sawtooth { width: day, hop };
    let ever_bad = |label_delay| Aggregate::DistinctEverBad {
        of: of.clone(),
        label: label.clone(),
        label_delay,
    };
    let features = FeatureSet::builder("hostile")
        .entity("customer", |customer| {
            customer
                .windows([day])
                .window(Width::CalendarDays { days: 2, zone: Zone::Offset(0) })
                .current(Current::Include)
                .aggregate("deviation", Aggregate::StandardDeviation { field: field.clone() })
                .aggregate("quantile", Aggregate::Quantile { field: field.clone(), q: 0.7 })
                .aggregate("top_share", Aggregate::TopShare { of: field.clone(), k: 2 })
        })
        .entity("customer", |customer| {
            customer
                .window(sawtooth.clone())
                .window(Width::Capped { width: 2 * day, cap: 20, hop })
                .lifetime()
                .delay(hop)
                .mean("mean", "amount")
                .aggregate("most", Aggregate::Max { field: field.clone() })
                .aggregate("first", Aggregate::First { field: field.clone() })
                .rate("rate", "fraud")
        })
        .entity("terminal", |terminal| {
            terminal
                .window(sawtooth.clone())
                .lifetime()
                .aggregate("amounts", Aggregate::ApproximateDistinct { of: field.clone() })
                .aggregate("about", Aggregate::ApproximateQuantile { field: field.clone(), q: 0.7 })
        })
        .entity("terminal", |terminal| {
            let labels = Labels::AsArrived { mature_after: hop };
            terminal
                .windows([day])
                .aggregate("rate_arrived", Aggregate::Rate { label: label.clone(), labels })
                .aggregate("ever_bad", ever_bad(Some(hop)))
                .aggregate("ever_bad_arrived", ever_bad(None))
        });
    let plan = features.build().unwrap().bind(&handbook::events()).unwrap();
    plan.online(OnlineConfig::default()).unwrap()
}

/// The `i`-th transaction, of one of a few customers and terminals.
pub fn transaction(i: u64, customer: u32) -> Transaction {
    Transaction {
        id: i,
        at: handbook::START.plus(Duration::from_secs(600 * i)),
        customer,
        terminal: customer + 1,
        cents: (i % 997) as i64 * 100,
        fraud: i % 11 == 3,
    }
}

/// What drift is counted on.
pub static PROFILE: LazyLock<Arc<ReferenceProfile>> =
    LazyLock::new(|| Arc::new(super::seeds::profile()));

/// An experiment of two arms that has started.
pub static EXPERIMENT: LazyLock<Arc<Experiment>> = LazyLock::new(|| {
    let arm = |version| ModelRef { name: "m".into(), version };
    let config = ExperimentConfig {
        name: "hostile".into(),
        arms: vec![arm(1), arm(2)],
        routing: RoutingConfig::new("hostile", &[500_000, 500_000]),
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::UnitBadRate, 4000, 9000),
    };
    let anna = Signature::new("anna", "test", Timestamp::from_date(2026, 1, 5));
    let experiment = Experiment::new(config, anna).unwrap();
    experiment.start(anna).unwrap();
    Arc::new(experiment)
});

/// Scores rows of the values where things go wrong.
fn use_model(model: &dyn Model) {
    let values = [f64::NAN, 0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, 1e-40, 2.5];
    let width = model.schema().n_features();
    let rows: Vec<f64> = (0..9 * width).map(|i| values[(i + i / width) % values.len()]).collect();
    let mut scores = [0.5; 9];
    model.score(&rows, &mut scores).expect("rows of the right width");
    let (mut one, row) = ([0.5], &rows[..width]);
    model.score(row, &mut one).expect("a row of the right width");
    assert_eq!(one[0].is_nan(), scores[0].is_nan());
    assert!(one[0].is_nan() || one[0].to_bits() == scores[0].to_bits(), "a batch scores otherwise");
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len().saturating_sub(4)].to_vec();
    bytes.extend(crc32(&bytes).to_le_bytes());
    bytes
}

/// The bytes with the length, all checksums and the seal that an artifact of this content has.
pub fn mended_artifact(bytes: &[u8]) -> Vec<u8> {
    const HEADER: usize = 24;
    const ENTRY: usize = 16;
    const SEAL: usize = 32;
    let mut bytes = bytes.to_vec();
    if bytes.len() < HEADER + SEAL {
        return bytes;
    }
    let end = bytes.len() - SEAL;
    let length = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    let n = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let table = HEADER + n * ENTRY;
    if table <= end {
        let mut start = table;
        for entry in (HEADER..table).step_by(ENTRY) {
            let length = u64::from_le_bytes(bytes[entry + 8..entry + 16].try_into().unwrap());
            let section = usize::try_from(length).ok().and_then(|n| start.checked_add(n));
            let Some(stop) = section.filter(|stop| *stop <= end) else { break };
            let checksum = crc32(&bytes[start..stop]);
            bytes[entry + 4..entry + 8].copy_from_slice(&checksum.to_le_bytes());
            start = stop;
        }
        let header = [&bytes[..12], &bytes[16..table]].concat();
        bytes[12..16].copy_from_slice(&crc32(&header).to_le_bytes());
    }
    let seal = Digest::of(&bytes[..end]);
    bytes[end..].copy_from_slice(seal.as_bytes());
    bytes
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}
