//! Live features that processes share, beside the obvious way to share them: read an entity's hash, add, write it back.
//!
//! ```text
//! cargo bench --bench redis --features redis-tokio                                # a seeded world
//! cargo bench --bench redis --features redis-tokio -- FILE.csv[.gz] [EVENTS]      # the handbook's published transactions
//! ```
//! Starts a redis-server of its own on a socket. First the vectors of the first EVENTS (200,000) are compared with those of
//! the engine in memory, bit for bit, for a definition with every kind of window that tiles can hold; one difference ends it.
//! Then 40,000 events are timed, the two ways in turn, three times over: whatever else the machine does meets both. Last, as
//! many events awaited on one connection, 64 under way at once.

#[path = "../tests/redis_server/mod.rs"]
mod redis_server;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use riskcycle::backend::{AsyncRedisOnlineFeatures, RedisOnlineConfig, RedisOnlineFeatures};
use riskcycle::feature::{Current, FeaturePlan, FeatureSet, OnlineConfig, Width};
use riskcycle::stats::LatencyHistogram;
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::testing::{World, online_features};
use riskcycle::{Seed, days};

const COMPARED: usize = 200_000;
const TIMED: usize = 40_000;
const DAY: i64 = 86_400_000_000;

/// The handbook's windows over customers and terminals, beginning on the day: number and mean of 1, 7 and 30 days.
fn features() -> FeatureSet {
    let width = |n| Width::Sawtooth { width: days(n), hop: days(1) };
    let of = |set: riskcycle::feature::FeatureSetBuilder, entity: &str| {
        let (n, mean) = (format!("{entity}_n"), format!("{entity}_mean"));
        set.entity(entity, |list| {
            let list = list.window(width(1)).window(width(7)).window(width(30));
            list.current(Current::Include).empty_as(0.0).count(&n).mean(&mean, "amount")
        })
    };
    of(of(FeatureSet::builder("bench"), "customer"), "terminal").build().expect("distinct names")
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mut events = match args.next() {
        Some(path) => handbook::read(path, |_| {}).expect("a file in the handbook's raw layout"),
        None => {
            let world = World { customers: 400, terminals: 2000, ..World::default() };
            world.transactions(Seed(1)).expect("a world with customers")
        }
    };
    events.truncate(args.next().map_or(COMPARED, |n| n.parse().expect("a number of events")));
    let Some(server) = RedisServer::start() else { return };
    // The server of the tests flushes the disk for every write; what is compared here is not the disk.
    let mut connection = server.connection();
    let mut no_disk = redis::cmd("CONFIG");
    no_disk.arg("SET").arg("appendonly").arg("no").exec(&mut connection).expect("it may be set");
    compare(&server, &events);

    events.truncate(TIMED);
    let plan = features().bind(&handbook::events()).expect("the fields are there");
    for round in 0..3 {
        let shared = open(&server, &plan);
        run("tiles, one script", &plan, &events, |event, row| {
            assert!(!shared.observe(event, row).expect("the server answers").degraded);
        });
        run("naive HGETALL/HSET", &plan, &events, |event, row| {
            let entities = [("customer", event.customer), ("terminal", event.terminal)];
            for ((kind, id), row) in entities.iter().zip(row.chunks_mut(6)) {
                naive(&mut connection, &format!("naive:{round}:{kind}:{id}"), event, row);
            }
        });
    }
    awaited(&server, &plan, events);
}

fn open(server: &RedisServer, plan: &FeaturePlan<Transaction>) -> RedisOnlineFeatures<Transaction> {
    let config = RedisOnlineConfig::default();
    RedisOnlineFeatures::new(&server.fresh(), plan, config).expect("tiles hold these features")
}

fn compare(server: &RedisServer, events: &[Transaction]) {
    let plan = online_features::definition().bind(&handbook::events()).expect("its fields");
    let (shared, names) = (open(server, &plan), plan.schema().names());
    let memory = plan.online(OnlineConfig::default()).expect("few sources");
    let (mut row, mut expected) = (vec![0.0; names.len()], vec![0.0; names.len()]);
    for event in events {
        assert!(!shared.observe(event, &mut row).expect("the server answers").degraded);
        memory.observe(event, &mut expected).expect("events in order");
        for (name, (shared, expected)) in names.iter().zip(row.iter().zip(&expected)) {
            let same = shared.to_bits() == expected.to_bits();
            assert!(same, "{name} of event {}: {shared:?}, in memory {expected:?}", event.id);
        }
    }
    let (n, width) = (events.len(), names.len());
    println!("{n} events, {width} features: the same vectors as in memory, bit for bit");
}

/// One entity's six features; not safe with two processes, which overwrite what the other one has added.
fn naive(connection: &mut redis::Connection, key: &str, event: &Transaction, row: &mut [f64]) {
    let day = (event.at.micros() - 1).div_euclid(DAY);
    let kept: HashMap<String, i64> =
        redis::cmd("HGETALL").arg(key).query(connection).expect("the server answers");
    let of = |day: i64, what: &str| kept.get(&format!("{day}:{what}")).copied().unwrap_or(0);
    let (n, cents) = (of(day, "n") + 1, of(day, "cents") + event.cents);
    let mut write = redis::cmd("HSET");
    write.arg(key).arg(format!("{day}:n")).arg(n).arg(format!("{day}:cents")).arg(cents);
    write.exec(connection).expect("the server answers");
    for (i, width) in [1, 7, 30].into_iter().enumerate() {
        let before = day - width..day;
        let (mut count, mut sum) = (n, cents);
        for day in before {
            count += of(day, "n");
            sum += of(day, "cents");
        }
        row[2 * i] = count as f64;
        row[2 * i + 1] = sum as f64 / (count as f64 * 100.0);
    }
}

fn run(
    name: &str,
    plan: &FeaturePlan<Transaction>,
    events: &[Transaction],
    mut observe: impl FnMut(&Transaction, &mut [f64]),
) {
    let mut row = vec![0.0; plan.schema().n_features()];
    let mut latency = LatencyHistogram::default();
    let begun = Instant::now();
    for event in events {
        let start = Instant::now();
        observe(event, &mut row);
        latency.record(start.elapsed().as_nanos() as u64);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let at = |q| Duration::from_nanos(latency.quantile(q).unwrap_or(0));
    let rate = events.len() as f64 / seconds;
    println!("{name:>20}: {rate:>7.0} events/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

/// Sixty-four tasks that take the next event each time one is answered.
fn awaited(server: &RedisServer, plan: &FeaturePlan<Transaction>, events: Vec<Transaction>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let config = RedisOnlineConfig::default();
        let shared = AsyncRedisOnlineFeatures::new(&server.fresh(), plan, config);
        let shared = Arc::new(shared.expect("tiles hold these features"));
        let (events, next) = (Arc::new(events), Arc::new(AtomicUsize::new(0)));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (shared, events, next) = (shared.clone(), events.clone(), next.clone());
                tokio::spawn(async move {
                    let mut row = vec![0.0; shared.schema().n_features()];
                    while let Some(event) = events.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let seen = shared.observe(event, &mut row).await;
                        assert!(!seen.expect("the server answers").degraded);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends well");
        }
        let rate = events.len() as f64 / begun.elapsed().as_secs_f64();
        println!("{:>20}: {rate:>7.0} events/s", "tiles, 64 awaited");
    });
}
