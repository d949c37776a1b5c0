//! Live features that processes share, beside the obvious way to share them: read an entity's hash, add, write it back.
//!
//! Starts a redis-server of its own on a socket. Both compute the same features of the same transactions of the seeded world;
//! those through tiles are checked against the engine in memory, bit for bit. `cargo bench --bench redis --features redis`.

#[path = "../tests/redis_server/mod.rs"]
mod redis_server;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use riskcycle::backend::{RedisOnlineConfig, RedisOnlineFeatures};
use riskcycle::feature::{Current, FeaturePlan, FeatureSet, OnlineConfig, Width};
use riskcycle::stats::LatencyHistogram;
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::{Seed, days};

const EVENTS: usize = 40_000;
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
    let Some(server) = RedisServer::start() else { return };
    // The server of the tests flushes the disk for every write; what is compared here is not the disk.
    let client =
        redis::Client::open(server.config("bench").url.as_str()).expect("a URL of our own");
    let mut connection = client.get_connection().expect("the server answers");
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("appendonly")
        .arg("no")
        .exec(&mut connection)
        .expect("it may be set");
    let world = World { customers: 400, terminals: 2000, ..World::default() };
    let mut events = world.transactions(Seed(1)).expect("a world with customers");
    events.truncate(EVENTS);
    let plan = features().bind(&handbook::events()).expect("the fields are there");

    // One after the other, three times over: whatever else the machine does meets both.
    for round in 0..3 {
        let pool = server.pool(&format!("tiles {round}"));
        let shared = RedisOnlineFeatures::new(&pool, &plan, RedisOnlineConfig::default())
            .expect("tiles hold these features");
        let memory = plan.online(OnlineConfig::default()).expect("few sources");
        let mut expected = vec![0.0; plan.schema().n_features()];
        run("tiles, one script", &plan, &events, |event, row| {
            assert!(!shared.observe(event, row).expect("the server answers").degraded);
            memory.observe(event, &mut expected).expect("events in order");
            assert!(row.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
        });

        run("naive HGETALL/HSET", &plan, &events, |event, row| {
            let entities = [("customer", event.customer), ("terminal", event.terminal)];
            for ((kind, id), row) in entities.iter().zip(row.chunks_mut(6)) {
                naive(&mut connection, &format!("naive:{round}:{kind}:{id}"), event, row);
            }
        });
    }
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
