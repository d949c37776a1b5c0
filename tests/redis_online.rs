//! Live features that processes share: the contract on a real redis-server, blocking and awaited, and a server that goes away.
#![cfg(feature = "redis")]

mod redis_server;

use std::time::{Duration, Instant};

use redis_server::RedisServer;
use riskcycle::backend::{
    RedisConfig, RedisOnlineConfig, RedisOnlineFeatures, RedisPool, SharedObserved,
};
use riskcycle::feature::{
    Aggregate, Current, FeaturePlan, FeatureSet, Observed, OnlineConfig, Width,
};
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::testing::{World, online_features};
use riskcycle::{Error, Result, Seed, Timestamp, days};

/// What a process has in its hands, whichever way it calls the server.
trait Shared: Sized {
    fn open(pool: &RedisPool, plan: &FeaturePlan<Transaction>, config: RedisOnlineConfig) -> Self;
    fn observe(&self, event: &Transaction, out: &mut [f64]) -> Result<SharedObserved>;
    fn flush(&self) -> Result<usize>;
    fn waiting(&self) -> usize;
    fn lost(&self) -> u64;
}

impl Shared for RedisOnlineFeatures<Transaction> {
    fn open(pool: &RedisPool, plan: &FeaturePlan<Transaction>, config: RedisOnlineConfig) -> Self {
        RedisOnlineFeatures::new(pool, plan, config).unwrap()
    }

    fn observe(&self, event: &Transaction, out: &mut [f64]) -> Result<SharedObserved> {
        self.observe(event, out)
    }

    fn flush(&self) -> Result<usize> {
        self.flush()
    }

    fn waiting(&self) -> usize {
        self.waiting()
    }

    fn lost(&self) -> u64 {
        self.lost()
    }
}

fn plan() -> FeaturePlan<Transaction> {
    online_features::definition().bind(&handbook::events()).unwrap()
}

fn transaction(id: u64, second: i64) -> Transaction {
    let at = Timestamp::from_seconds(second);
    Transaction { id, at, customer: 1, terminal: 1, cents: 100, fraud: false }
}

fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|value| value.to_bits()).collect()
}

/// The contract, by two processes in turn: neither has seen all events.
fn keeps_the_contract<S: Shared>() {
    let Some(server) = RedisServer::start() else { return };
    online_features::all(|plan| {
        let pool = server.fresh();
        let open = || S::open(&pool, plan, RedisOnlineConfig::default());
        let (one, two) = (open(), open());
        let mut n = 0;
        move |event, out| {
            n += 1;
            let shared = if n % 3 == 0 { &one } else { &two }.observe(event, out).unwrap();
            assert!(!shared.degraded, "the server answers");
            shared.observed
        }
    });
}

/// While the server is away, or hangs, the process answers by what it has seen itself; and all is counted in the end.
fn outlives_the_server<S: Shared>() {
    let Some(mut server) = RedisServer::start() else { return };
    let timeout = Duration::from_millis(100);
    let config = RedisConfig {
        connect_timeout: timeout,
        response_timeout: timeout,
        ..server.config("test")
    };
    let (pool, plan) = (RedisPool::new(config).unwrap(), plan());
    let world = World { customers: 8, terminals: 600, days: 20, ..World::default() };
    let events = world.transactions(Seed(3)).unwrap();
    assert!(events.len() > 100);
    let pause = Duration::from_millis(50);
    let config = RedisOnlineConfig { pause, ..RedisOnlineConfig::default() };
    let shared = S::open(&pool, &plan, config);
    let memory = plan.online(OnlineConfig::default()).unwrap();
    let names = plan.schema().n_features();
    let (mut row, mut expected) = (vec![0.0; names], vec![0.0; names]);
    let mut parts = events.chunks(events.len().div_ceil(5));
    let mut observe = |degraded: bool| {
        let (part, begun) = (parts.next().unwrap(), Instant::now());
        for event in part {
            memory.observe(event, &mut expected).unwrap();
            let seen = shared.observe(event, &mut row).unwrap();
            assert_eq!((seen.observed, seen.degraded), (Observed::New, degraded));
            assert_eq!(bits(&row), bits(&expected));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "each event waits for the server");
        part.len()
    };
    observe(false);
    server.stop();
    let n = observe(true);
    assert_eq!(shared.waiting(), n);
    server.run();
    assert_eq!(shared.flush().unwrap(), 0);
    observe(false);
    server.signal("STOP");
    let n = observe(true);
    assert_eq!(shared.flush().unwrap(), n);
    server.signal("CONT");
    assert_eq!(shared.flush().unwrap(), 0);
    observe(false);
    assert_eq!((shared.waiting(), shared.lost()), (0, 0));
    // Another process, which has nothing in memory, sees all of it.
    let other = S::open(&pool, &plan, RedisOnlineConfig::default());
    let last = events.last().unwrap();
    let next = Transaction { id: last.id + 1, ..*last };
    memory.observe(&next, &mut expected).unwrap();
    assert!(!other.observe(&next, &mut row).unwrap().degraded);
    assert_eq!(bits(&row), bits(&expected));
}

#[test]
fn live_features_are_those_of_one_engine_in_memory() {
    keeps_the_contract::<RedisOnlineFeatures<Transaction>>();
}

#[test]
fn scoring_goes_on_from_memory_while_the_server_is_away_and_says_so() {
    outlives_the_server::<RedisOnlineFeatures<Transaction>>();
}

#[test]
fn events_that_wait_make_room_for_later_ones_and_are_counted() {
    let config = RedisConfig::new("redis+unix:///nowhere/at/all");
    let pool = RedisPool::new(config).unwrap();
    assert!(pool.ping().unwrap_err().is_retryable());
    let plan = plan();
    let pause = Duration::ZERO; // asks with every event
    let config = RedisOnlineConfig { max_waiting: 3, pause, ..RedisOnlineConfig::default() };
    let shared = RedisOnlineFeatures::new(&pool, &plan, config).unwrap();
    let mut row = vec![0.0; plan.schema().n_features()];
    for id in 0..5 {
        assert!(shared.observe(&transaction(id, id as i64), &mut row).unwrap().degraded);
    }
    assert_eq!((shared.waiting(), shared.lost()), (3, 2));
    assert_eq!(shared.flush().unwrap(), 3);
    assert!(shared.observe(&transaction(9, 9), &mut row[1..]).is_err());
}

#[test]
fn something_else_under_a_key_is_corrupt_and_does_not_hold_up_other_events() {
    let Some(mut server) = RedisServer::start() else { return };
    let (pool, plan) = (server.pool("test"), plan());
    let shared = RedisOnlineFeatures::new(&pool, &plan, RedisOnlineConfig::default()).unwrap();
    let mut row = vec![0.0; plan.schema().n_features()];
    let prefix = format!("{{test}}:online:{}:", plan.set().fingerprint().short());
    let spoil = |server: &RedisServer| {
        let mut meddler = server.connection();
        redis::cmd("SET").arg(format!("{prefix}0:1")).arg("x").exec(&mut meddler).unwrap();
    };
    spoil(&server);
    let error = shared.observe(&transaction(1, 0), &mut row).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!((shared.waiting(), shared.lost()), (0, 0), "the caller was told");
    let other = |id| Transaction { customer: 2, ..transaction(id, 0) };
    server.stop();
    assert!(shared.observe(&transaction(2, 0), &mut row).unwrap().degraded);
    assert!(shared.observe(&other(3), &mut row).unwrap().degraded);
    server.run();
    spoil(&server);
    assert_eq!(shared.flush().unwrap(), 0);
    assert_eq!(shared.lost(), 1, "what can never be counted waits for ever");
    assert!(!shared.observe(&other(4), &mut row).unwrap().degraded);
    assert_eq!(row[plan.schema().position("n_about_1d").unwrap()], 2.0);
}

#[test]
fn a_server_that_forgot_its_scripts_is_given_them_again() {
    let Some(server) = RedisServer::start() else { return };
    let plan = plan();
    let shared =
        RedisOnlineFeatures::new(&server.pool("test"), &plan, RedisOnlineConfig::default());
    let (shared, mut row) = (shared.unwrap(), vec![0.0; plan.schema().n_features()]);
    for id in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.connection()).unwrap();
        let seen = shared.observe(&transaction(id, id as i64), &mut row).unwrap();
        assert_eq!(seen, SharedObserved { observed: Observed::New, degraded: false });
    }
}

#[test]
fn what_tiles_cannot_hold_is_refused_with_the_reason() {
    let Some(server) = RedisServer::start() else { return };
    let refused = |set: FeatureSet| {
        let plan = set.bind(&handbook::events()).unwrap();
        let pool = server.pool("refused");
        RedisOnlineFeatures::new(&pool, &plan, RedisOnlineConfig::default())
            .unwrap_err()
            .to_string()
    };
    let about = Width::Sawtooth { width: days(7), hop: days(1) };
    let of =
        |list: fn(riskcycle::feature::EntityFeatures) -> riskcycle::feature::EntityFeatures| {
            FeatureSet::builder("set")
                .entity("customer", |c| {
                    list(c.window(Width::Sawtooth { width: days(7), hop: days(1) }))
                })
                .build()
                .unwrap()
        };
    let exact = FeatureSet::builder("set").entity("customer", |c| c.windows([days(7)]).count("n"));
    assert!(refused(exact.build().unwrap()).contains("n_7d: an exact width begins inside a tile"));
    let capped = Width::Capped { width: days(7), cap: 100, hop: days(1) };
    let capped = FeatureSet::builder("set").entity("customer", |c| c.window(capped).count("n"));
    assert!(refused(capped.build().unwrap()).contains("n_7d_cap_100: an exact width begins"));
    assert!(refused(of(|c| c.delay(days(1)).count("n"))).contains("with a delay"));
    assert!(refused(of(|c| c.current(Current::StrictPast).count("n"))).contains("one moment"));
    assert!(refused(of(|c| c.distinct("d", "terminal"))).contains("add up"));
    let (of, label) = ("terminal".into(), "fraud".into());
    let linked = Aggregate::DistinctEverBad { of, label, label_delay: None };
    let linked =
        FeatureSet::builder("set").entity("customer", |c| c.lifetime().aggregate("l", linked));
    assert!(refused(linked.build().unwrap()).contains("l: only counts"));
    let labels = riskcycle::feature::Labels::AsArrived { mature_after: Duration::ZERO };
    let rate = Aggregate::Rate { label: "fraud".into(), labels };
    let rate =
        FeatureSet::builder("set").entity("customer", |c| c.window(about).aggregate("r", rate));
    assert!(refused(rate.build().unwrap()).contains("a label comes later"));
}

#[test]
fn old_tiles_go_when_new_ones_come() {
    let Some(server) = RedisServer::start() else { return };
    let pool = server.pool("test");
    let set = FeatureSet::builder("set").entity("customer", |c| {
        c.window(Width::Sawtooth { width: days(2), hop: days(1) }).count("n").sum("sum", "amount")
    });
    let plan = set.build().unwrap().bind(&handbook::events()).unwrap();
    let lateness = RedisOnlineConfig { lateness: Duration::ZERO, ..RedisOnlineConfig::default() };
    let shared = RedisOnlineFeatures::new(&pool, &plan, lateness).unwrap();
    let mut row = [0.0; 2];
    for day in 0..50 {
        shared.observe(&transaction(day, day as i64 * 86_400 + 1), &mut row).unwrap();
    }
    assert_eq!(row, [2.0, 2.0]);
    let key = format!("{{test}}:online:{}:0:1", plan.set().fingerprint().short());
    let n: usize = redis::cmd("HLEN").arg(key).query(&mut server.connection()).unwrap();
    // Three days are within the window of the last event, each with a number and an amount; some others wait to go.
    assert!((6..=24).contains(&n), "{n} counters of 100");
}

#[cfg(feature = "redis-tokio")]
mod awaited {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Poll;

    use riskcycle::backend::AsyncRedisOnlineFeatures;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    struct Awaited {
        runtime: Runtime,
        shared: AsyncRedisOnlineFeatures<Transaction>,
    }

    impl Shared for Awaited {
        fn open(
            pool: &RedisPool,
            plan: &FeaturePlan<Transaction>,
            config: RedisOnlineConfig,
        ) -> Self {
            let runtime = runtime();
            let inside = runtime.enter();
            let shared = AsyncRedisOnlineFeatures::new(pool, plan, config).unwrap();
            drop(inside);
            Awaited { runtime, shared }
        }

        fn observe(&self, event: &Transaction, out: &mut [f64]) -> Result<SharedObserved> {
            self.runtime.block_on(self.shared.observe(event, out))
        }

        fn flush(&self) -> Result<usize> {
            self.runtime.block_on(self.shared.flush())
        }

        fn waiting(&self) -> usize {
            self.shared.waiting()
        }

        fn lost(&self) -> u64 {
            self.shared.lost()
        }
    }

    #[test]
    fn live_features_are_those_of_one_engine_in_memory() {
        keeps_the_contract::<Awaited>();
    }

    #[test]
    fn scoring_goes_on_from_memory_while_the_server_is_away_and_says_so() {
        outlives_the_server::<Awaited>();
    }

    #[test]
    fn outside_a_runtime_it_is_a_typed_error() {
        let pool = RedisPool::new(RedisConfig::new("redis://127.0.0.1/")).unwrap();
        let shared = AsyncRedisOnlineFeatures::new(&pool, &plan(), RedisOnlineConfig::default());
        assert!(matches!(shared.unwrap_err(), Error::InvalidConfig { .. }));
    }

    /// How many events the customer has, when this one is counted.
    async fn count(shared: &AsyncRedisOnlineFeatures<Transaction>, event: Transaction) -> f64 {
        let mut row = vec![0.0; shared.schema().n_features()];
        assert!(!shared.observe(&event, &mut row).await.unwrap().degraded);
        row[shared.schema().position("n_about_1d").unwrap()]
    }

    #[test]
    fn many_events_are_under_way_at_once() {
        let Some(server) = RedisServer::start() else { return };
        runtime().block_on(async {
            let pool = server.pool("test");
            let config = RedisOnlineConfig::default();
            let shared = Arc::new(AsyncRedisOnlineFeatures::new(&pool, &plan(), config).unwrap());
            let tasks: Vec<_> = (0..500)
                .map(|id| {
                    let shared = shared.clone();
                    tokio::spawn(async move { count(&shared, transaction(id, 60)).await })
                })
                .collect();
            let mut counts = Vec::new();
            for task in tasks {
                counts.push(task.await.unwrap());
            }
            // Each sees itself and those that the server took before, and maybe some that came at once.
            assert!(counts.iter().all(|count| (1.0..=500.0).contains(count)));
            assert_eq!(count(&shared, transaction(500, 61)).await, 501.0);
        });
    }

    #[test]
    fn an_event_that_nobody_awaits_any_more_is_counted_once() {
        let Some(server) = RedisServer::start() else { return };
        runtime().block_on(async {
            let (pool, config) = (server.pool("test"), RedisOnlineConfig::default());
            let shared = AsyncRedisOnlineFeatures::new(&pool, &plan(), config).unwrap();
            assert_eq!(count(&shared, transaction(0, 0)).await, 1.0);
            for id in 1..100 {
                let (event, mut row) =
                    (transaction(id, 1), vec![0.0; shared.schema().n_features()]);
                let mut observed = pin!(shared.observe(&event, &mut row));
                // Sent, and dropped before the answer is there.
                poll_fn(|context| {
                    let _ = observed.as_mut().poll(context);
                    Poll::Ready(())
                })
                .await;
            }
            assert_eq!(shared.flush().await.unwrap(), 0);
            assert_eq!(count(&shared, transaction(100, 2)).await, 101.0);
            assert_eq!(shared.lost(), 0);
        });
    }
}
