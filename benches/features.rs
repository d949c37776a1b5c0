//! Speed and memory of the feature engine. Peers on the same data: `benches/peers/features.py`, which calls this.
//!
//! ```text
//! cargo bench --bench features -- batch FILE.csv[.gz]    seconds to compute the handbook's 12 window features
//! cargo bench --bench features -- online FILE.csv[.gz]   latency, allocations and throughput of observe
//! cargo bench --bench features -- keys                   bytes per key of a million keys
//! cargo bench --bench features -- busy                   cost of a key with a million events in its window, by kind of width
//! cargo bench --bench features -- checksums FILE.csv[.gz]
//!     the handbook's 14 columns over its published transactions, against checksums of the published values
//! ```
//! Without a file, a seeded world of the handbook's size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use riskcycle::feature::{Current, FeatureSet, OnlineConfig, Width};
use riskcycle::stats::LatencyHistogram;
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, PUBLISHED_NAMES, START, Transaction};
use riskcycle::{Seed, days};

/// Counts what the system's allocator hands out.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

// The allocator's own trait is unsafe; every call goes straight to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let events = || match args.get(1) {
        Some(path) => handbook::read(path, |_| {}).expect("a file in the handbook's raw layout"),
        None => {
            let world = World {
                customers: 5000,
                terminals: 10_000,
                days: 183,
                terminals_taken_over_per_day: 2,
                cards_stolen_per_day: 3,
            };
            world.transactions(Seed(0)).expect("a world with customers, terminals and days")
        }
    };
    match args.first().map(String::as_str) {
        Some("batch") => batch(&events()),
        Some("online") => online(&events()),
        Some("keys") => keys(),
        Some("busy") => busy(),
        Some("checksums") => checksums(&events()),
        None => {
            let events = events();
            batch(&events);
            online(&events);
            keys();
            busy();
        }
        Some(other) => panic!("{other} is not known: batch, online, keys, busy or checksums"),
    }
}

/// The handbook's twelve window features, and nothing else.
fn window_features() -> FeatureSet {
    let widths = [days(1), days(7), days(30)];
    FeatureSet::builder("windows")
        .entity("customer", |c| {
            let c = c.windows(widths).current(Current::Include).empty_as(0.0);
            c.count("n").mean("mean", "amount")
        })
        .entity("terminal", |t| {
            let t = t.windows(widths).delay(days(7)).empty_as(0.0);
            t.count("terminal_n").rate("risk", "fraud")
        })
        .build()
        .expect("distinct names and a delay on every label")
}

/// The most memory that the process held at once since it was last asked, beyond what it held then, in MB (Linux).
fn peak_since(before: Option<u64>) -> Option<f64> {
    Some((proc_status("VmHWM:")?.saturating_sub(before?)) as f64 / 1024.0)
}

/// A figure of the process's own, in KiB; the peak starts anew.
fn resident() -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    proc_status("VmRSS:")
}

fn proc_status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn batch(events: &[Transaction]) {
    let plan = window_features().bind(&handbook::events()).expect("the fields are there");
    let before = resident();
    drop(plan.compute(events).expect("events with distinct ids"));
    let peak = peak_since(before).map_or("unknown".into(), |peak| format!("{peak:.0} MB"));
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            let frame = plan.compute(events).expect("events with distinct ids");
            assert_eq!(frame.n_rows(), events.len());
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (n, median, best) = (events.len(), seconds[3], seconds[0]);
    println!("batch {n} rows: median {median:.4} s, best {best:.4} s, peak {peak}");
}

/// Two numbers agree if they differ by no more than what summing floats in another order does. A card's payments of one
/// second have no order that is published; for those rows the published values are taken. One checksum differs still: 6 means
/// over a day of zero amounts are 0 here, while the published running sum leaves them a residue that is not.
fn checksums(events: &[Transaction]) {
    let golden = include_str!("../tests/data/handbook_checksums.json");
    let golden: serde_json::Value = serde_json::from_str(golden).expect("written by a script");
    let plan = handbook::features().bind(&handbook::events()).expect("the fields are there");
    let frame = plan.compute(events).expect("events with distinct ids");
    let mut ties = include_str!("../tests/data/handbook_tie_rows.csv")
        .lines()
        .map(|line| line.split(',').collect::<Vec<&str>>());
    let names = ties.next().expect("a header");
    let ties: Vec<Vec<&str>> = ties.collect();
    let mut differing = 0;
    for (column, name) in PUBLISHED_NAMES.iter().enumerate().skip(1) {
        let mut values = frame.column(column).to_vec();
        let of = names.iter().position(|other| other == name).expect("all 14 columns");
        for tie in &ties {
            let row: usize = tie[0].parse().expect("transactions are numbered from 0");
            values[row] = tie[of].parse().expect("a number");
        }
        let weighted = values.iter().enumerate().map(|(row, value)| value * (row % 97) as f64);
        let ours = [
            ("sum", values.iter().sum()),
            ("sumsq", values.iter().map(|value| value * value).sum()),
            ("max", values.iter().copied().fold(0.0, f64::max)),
            ("nonzero", values.iter().filter(|value| **value != 0.0).count() as f64),
            ("weighted", weighted.sum()),
        ];
        let published = |of: &str| golden[*name][of].as_f64().expect("a number for each column");
        let differs = |(of, value): &(&str, f64)| {
            let published = published(of);
            (value - published).abs() > 1e-9 * published.abs()
        };
        let wrong: Vec<String> = ours
            .iter()
            .filter(|sum| differs(sum))
            .map(|(of, value)| format!("{of} {value}, published {}", published(of)))
            .collect();
        let known = name.contains("AVG_AMOUNT_1DAY")
            && wrong.len() == 1
            && published("nonzero") - ours[3].1 == 6.0;
        assert!(wrong.is_empty() || known, "{name}: {wrong:?}");
        differing += wrong.len();
        let note = if wrong.is_empty() { "agrees".into() } else { wrong.join("; ") };
        println!("{name:<36} sum {:>18.6}  {note}", ours[0].1);
    }
    let (n, ties) = (events.len(), ties.len());
    println!("{n} rows ({ties} ties as published), 14 columns of 5 checksums: {differing} differ");
}

fn online(events: &[Transaction]) {
    let plan = window_features().bind(&handbook::events()).expect("the fields are there");
    let online = plan.online(OnlineConfig::default()).expect("few sources");
    let mut row = vec![0.0; plan.schema().n_features()];
    let (warm, mut labelled, mut maintained) = (events.len() / 2, 0, START);
    let mut latency = LatencyHistogram::default();
    let mut allocations = 0;
    let mut n_keys = 0;
    for (i, event) in events.iter().enumerate() {
        while events[labelled].at.plus(days(7)) <= event.at {
            online.label(&events[labelled], events[labelled].fraud);
            labelled += 1;
        }
        if maintained.plus(days(1)) <= event.at {
            online.maintain(event.at);
            maintained = event.at;
            n_keys = online.n_keys();
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        online.observe(event, &mut row).expect("events in order");
        let nanos = start.elapsed().as_nanos() as u64;
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        // A key seen for the first time, or again after it was idle, allocates.
        if allocated > 0 && n_keys != online.n_keys() {
            n_keys = online.n_keys();
        } else if i >= warm {
            allocations += allocated;
        }
        if i >= warm {
            latency.record(nanos);
        }
    }
    // What the two readings of the clock cost by themselves.
    let mut clock = LatencyHistogram::default();
    (0..100_000).for_each(|_| clock.record(Instant::now().elapsed().as_nanos() as u64));
    let micros = |q| latency.quantile(q).unwrap_or(0) as f64 / 1000.0;
    let clock = clock.quantile(0.5).unwrap_or(0);
    println!(
        "online observe: p50 {:.2} µs, p99 {:.2} µs, p99.9 {:.2} µs",
        micros(0.5),
        micros(0.99),
        micros(0.999)
    );
    println!(
        "  of which the clock {clock} ns; {allocations} allocations for known keys in {} calls",
        latency.count()
    );

    for threads in [1, 2] {
        let online = plan.online(OnlineConfig::default()).expect("few sources");
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let online = &online;
                scope.spawn(move || {
                    let mut row = [0.0; 12];
                    // Entities apart, so that every one of them keeps its order.
                    for event in events {
                        if event.customer % threads == thread {
                            let terminal = event.terminal * threads + thread;
                            let event = Transaction { terminal, ..*event };
                            online.observe(&event, &mut row).expect("events in order");
                        }
                    }
                });
            }
        });
        let rate = events.len() as f64 / start.elapsed().as_secs_f64();
        println!("  {threads} threads: {:.2} M events/s", rate / 1e6);
    }
}

/// A million customers with ten transactions each.
fn keys() {
    let set = FeatureSet::builder("keys")
        .entity("customer", |c| {
            c.windows([days(1), days(7), days(30)]).count("n").mean("mean", "amount")
        })
        .build()
        .expect("distinct names");
    let plan = set.bind(&handbook::events()).expect("the fields are there");
    let before = BYTES.load(Ordering::Relaxed);
    let online = plan.online(OnlineConfig::default()).expect("one source");
    let mut row = [0.0; 6];
    let (n, per_key) = (1_000_000u64, 10);
    for i in 0..n * per_key {
        let at = START.plus(Duration::from_micros(i));
        let customer = (i % n) as u32;
        let event = Transaction { id: i, at, customer, terminal: 0, cents: 100, fraud: false };
        online.observe(&event, &mut row).expect("events in order");
    }
    online.maintain(START);
    let bytes = (BYTES.load(Ordering::Relaxed) - before) as f64 / n as f64;
    // By the rule that OnlineFeatures states: a key, twice its events of three numbers, an eighth kept in hand.
    let bound = 450.0 + 2.0 * 24.0 * per_key as f64 * 1.125;
    println!(
        "a million keys with {per_key} events each: {bytes:.0} bytes per key, at most {bound:.0}"
    );
    assert!(bytes <= bound);
}

/// One customer with a million transactions within thirty days.
fn busy() {
    let (width, hop, cap) = (days(30), Duration::from_secs(3600), 1000);
    let event = |i: u64| {
        let at = START.plus(Duration::from_secs(2 * i));
        Transaction { id: i, at, customer: 0, terminal: 0, cents: 100, fraud: false }
    };
    let events: Vec<Transaction> = (0..1_000_000).map(event).collect();
    let widths =
        [Width::Last(width), Width::Capped { width, cap, hop }, Width::Sawtooth { width, hop }];
    for width in widths {
        let capped = matches!(width, Width::Capped { .. });
        let kind = format!("{width:?}");
        let set = FeatureSet::builder("busy")
            .entity("customer", |c| c.window(width).count("n").mean("mean", "amount"));
        let set = set.build().expect("distinct names");
        let plan = set.bind(&handbook::events()).expect("the fields are there");
        let before = BYTES.load(Ordering::Relaxed);
        let online = plan.online(OnlineConfig::default()).expect("one source");
        let (start, mut row) = (Instant::now(), [0.0; 2]);
        for event in &events {
            online.observe(event, &mut row).expect("events in order");
        }
        let nanos = start.elapsed().as_nanos() as f64 / events.len() as f64;
        let bytes = BYTES.load(Ordering::Relaxed) - before;
        let start = Instant::now();
        drop(plan.compute(&events).expect("events with distinct ids"));
        let batch = start.elapsed().as_nanos() as f64 / events.len() as f64;
        println!("{kind}: {nanos:.0} ns an event online, {batch:.0} ns in batch, {bytes} bytes");
        // By the rule that OnlineFeatures states: a key, twice its events of three numbers, its tiles of one sum.
        let bound = 450 + 2 * (cap + 2) * 24 + (30 * 24 + 2) * (100 + 16);
        assert!(!capped || bytes as u64 <= bound, "at most {bound}");
    }
}
