//! State that processes share: the contracts on a real redis-server, and everything that may happen to one.
#![cfg(feature = "redis")]

mod redis_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use riskcycle::alert::{AlertConfig, AlertEngine, AlertRule, Comparison};
use riskcycle::backend::{
    RedisAlertHistory, RedisArtifactStore, RedisConfig, RedisFeatureStorage, RedisPool,
    RedisPredictionLog, RedisRegistryLog, RedisSnapshots,
};
use riskcycle::evaluate::Decision;
use riskcycle::feature::store::{
    FeatureDocumentation, FeatureQuery, FeatureRef, FeatureSemantics, FeatureStorage, FeatureStore,
};
use riskcycle::monitor::{Measurement, Metric, MetricSource, PredictionLog, PredictionLogConfig};
use riskcycle::registry::{ArtifactStore, ModelRegistry, RegistryLog};
use riskcycle::serve::{FallbackCause, Prediction};
use riskcycle::testing::{artifact_store, feature_storage, prediction_log, registry_log};
use riskcycle::{Digest, Error, ModelRef, Signature, Timestamp, days};

const NOW: Timestamp = Timestamp::from_date(2026, 1, 5);

/// Feature `a` in a store, and a connection to meddle with.
fn with_one_feature(server: &RedisServer) -> (RedisPool, FeatureStore, redis::Connection) {
    let pool = server.pool("test");
    let store = store(&pool);
    register(&store, "a").unwrap();
    (pool, store, server.connection())
}

fn sign(reason: &str) -> Signature<'_> {
    Signature::new("anna", reason, NOW)
}

fn documentation(tags: &[&str]) -> FeatureDocumentation {
    FeatureDocumentation {
        name: "Payments".into(),
        description: "Number of payments".into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..FeatureDocumentation::default()
    }
}

fn store(pool: &RedisPool) -> FeatureStore {
    FeatureStore::new(Arc::new(RedisFeatureStorage::new(pool)))
}

fn register(store: &FeatureStore, id: &str) -> riskcycle::Result<()> {
    store.register(id, documentation(&[]), FeatureSemantics::default(), sign("test")).map(drop)
}

fn model() -> ModelRef {
    ModelRef { name: "fraud".into(), version: 1 }
}

fn prediction(id: u64, second: i64) -> Prediction {
    prediction_log::prediction(id, second, model())
}

#[test]
fn features_are_kept_by_the_contract() {
    let Some(server) = RedisServer::start() else { return };
    feature_storage::all(|| RedisFeatureStorage::new(&server.fresh()));
}

#[test]
fn the_registry_log_is_kept_by_the_contract() {
    let Some(server) = RedisServer::start() else { return };
    registry_log::all(|| RedisRegistryLog::new(&server.fresh()));
}

#[test]
fn artifacts_are_kept_by_the_contract() {
    let Some(server) = RedisServer::start() else { return };
    artifact_store::all(|| RedisArtifactStore::new(&server.fresh()));
}

#[test]
fn predictions_are_kept_by_the_contract() {
    let Some(server) = RedisServer::start() else { return };
    prediction_log::all(|config| RedisPredictionLog::new(&server.fresh(), config).unwrap());
}

#[test]
fn the_indexes_of_a_feature_are_exact_after_every_change() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server.pool("test"));
    let first = store.register(
        "n",
        documentation(&["card", "night"]),
        FeatureSemantics::default(),
        sign("wanted"),
    );
    let first = first.unwrap();
    store.document(&first.feature, 1, documentation(&["card", "day"]), sign("better")).unwrap();
    let mut connection = server.connection();
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*index*").query(&mut connection).unwrap();
    keys.sort();
    let index = |name: &str| format!("{{test}}:features:index:{name}");
    assert_eq!(
        keys,
        [index("status:draft"), index("tag:card"), index("tag:day")],
        "an index was left behind"
    );
}

#[test]
fn a_list_of_many_goes_through_every_page() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server.pool("test"));
    let n = 600; // more than the script looks at in one go
    for i in 0..n {
        let tags: &[&str] = if i % 100 == 99 { &["rare"] } else { &[] };
        store
            .register(
                &format!("f{i:03}"),
                documentation(tags),
                FeatureSemantics::default(),
                sign("test"),
            )
            .unwrap();
    }
    let listed = store.list(&FeatureQuery { limit: 1000, ..FeatureQuery::default() }).unwrap();
    assert_eq!(listed.len(), n);
    let rare =
        FeatureQuery { tags: ["rare".to_owned()].into(), limit: 4, ..FeatureQuery::default() };
    let page = store.list(&rare).unwrap();
    let ids: Vec<&str> = page.iter().map(|record| &*record.feature.id).collect();
    assert_eq!(ids, ["f099", "f199", "f299", "f399"]);
    let rest = store.list(&FeatureQuery { after: Some(page[3].feature.clone()), ..rare }).unwrap();
    assert_eq!(rest.len(), 2);
}

#[test]
fn an_artifact_of_many_pieces_is_there_whole_or_not_at_all() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisArtifactStore::new(&server.pool("test"));
    let long: Vec<u8> = (0..7_u32 << 20).map(|i| (i.wrapping_mul(i) >> 11) as u8).collect();
    let digest = Digest::of(&long);
    let key = format!("{{test}}:artifact:{digest}");
    let mut meddler = server.connection();
    let memory: String = redis::cmd("INFO").arg("memory").query(&mut meddler).unwrap();
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let room = used.trim().parse::<u64>().unwrap() + (5 << 20); // for some of the pieces
    let mut limit = |bytes: u64| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut meddler).unwrap()
    };
    limit(room);
    let error = store.put(&long).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    limit(0);
    assert!(store.get(&digest).unwrap_err().is_not_found());
    let mut ask = |call: &[&str]| -> i64 {
        redis::cmd(call[0]).arg(&key).arg(&call[1..]).query(&mut meddler).unwrap()
    };
    let n_pieces = ask(&["HLEN"]);
    assert!((1..7).contains(&n_pieces), "{n_pieces} pieces");
    assert!(ask(&["PTTL"]) > 0, "what is not finished stays for ever");
    assert_eq!(store.put(&long).unwrap(), digest);
    assert!(store.get(&digest).unwrap() == long);
    assert_eq!(ask(&["PTTL"]), -1, "what is finished goes one day");
    for spoil in [&["HSET", "3", "other"][..], &["HDEL", "5"], &["HSET", "pieces", "9"]] {
        ask(spoil);
        let error = store.get(&digest).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_eq!(store.put(&long).unwrap(), digest, "it is not mended");
        assert!(store.get(&digest).unwrap() == long);
    }
}

#[test]
fn predictions_are_counted_by_the_hour_and_forgotten_in_time() {
    let Some(server) = RedisServer::start() else { return };
    let pool = server.pool("test");
    let config = PredictionLogConfig { capacity: 10, ..PredictionLogConfig::default() };
    let log = || RedisPredictionLog::new(&pool, config).unwrap().keep(days(1));
    let (one, two) = (log(), log());
    for i in 0..60 {
        let mut prediction = prediction(i, 600 * i as i64);
        prediction.decision =
            [Decision::Approve, Decision::Review, Decision::Decline][i as usize % 3];
        prediction.score = (i % 10 != 0).then_some(0.125);
        prediction.fallback = (i % 10 == 0).then_some(FallbackCause::NoScore);
        if i % 2 == 0 { &one } else { &two }.record(&prediction, &[]);
    }
    one.flush().unwrap();
    let at = Timestamp::from_seconds;
    let all = two.summary(&model(), at(0)..at(36_000)).unwrap();
    assert_eq!((all.n, all.n_scored, all.n_fallback), (60, 54, 6));
    assert_eq!((all.n_approved, all.n_reviewed, all.n_declined), (20, 20, 20));
    assert_eq!(all.mean_score(), Some(0.125));
    let hour = one.summary(&model(), at(3599)..at(3600)).unwrap();
    assert_eq!(hour.n, 6, "the hour from 0:00");
    assert_eq!(one.summary(&model(), at(5)..at(5)).unwrap().mean_score(), None);
    // The same predictions again, as after an answer that was lost: the ten that are kept are not counted again.
    assert_eq!(one.recent(&model(), 100).unwrap().len(), 10);
    let kept = one.recent(&model(), 100).unwrap();
    kept.iter().for_each(|logged| one.record(&logged.prediction, &[]));
    assert_eq!(one.summary(&model(), at(0)..at(36_000)).unwrap(), all);
    one.record(&prediction(1000, 10 * 86_400), &[]);
    assert_eq!(
        one.recent(&model(), 100).unwrap().len(),
        1,
        "ten days later the others are too old"
    );
    let error = one.summary(&model(), at(0)..at(1 << 40)).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
}

struct High(f64);

impl MetricSource for High {
    fn measure(&self, _: &Metric, _: Duration, _: Timestamp) -> Vec<Measurement> {
        vec![Measurement { model: None, segment: None, value: self.0, n: 100 }]
    }
}

#[test]
fn alerts_of_all_processes_are_one_history() {
    let Some(server) = RedisServer::start() else { return };
    let pool = server.pool("test");
    let history = RedisAlertHistory::new(&pool, 3).unwrap();
    let rule = |id: &str| AlertRule::new(id, Metric::custom("x"), Comparison::Above, 0.5);
    let engine =
        |id: &str| AlertEngine::new(AlertConfig::default(), vec![rule(id)], Vec::new()).unwrap();
    let at = |minute: i64| Timestamp::from_seconds(60 * minute);
    let (one, two) = (engine("one"), engine("two"));
    let first = one.tick(at(1), &High(1.0));
    let second = two.tick(at(2), &High(f64::INFINITY));
    let third = one.tick(at(3), &High(0.0));
    history.append(&second).unwrap();
    history.append(&third).unwrap();
    history.append(&first).unwrap();
    history.append(&first).unwrap();
    let all = history.between(at(0)..at(10), 10).unwrap();
    assert_eq!(all, [first, second.clone(), third.clone()].concat());
    assert_eq!(history.between(at(2)..at(3), 10).unwrap(), second);
    history.append(&two.tick(at(60), &High(0.0))).unwrap();
    assert_eq!(history.between(at(0)..at(100), 10).unwrap().len(), 3, "the oldest makes room");
    history.append(&[]).unwrap();
    let short = history.clone().keep(Duration::from_secs(60));
    short.append(&two.tick(at(90), &High(1.0))).unwrap();
    assert_eq!(history.between(at(0)..at(100), 10).unwrap().len(), 1, "others are too old");
    assert!(RedisAlertHistory::new(&pool, 0).is_err());
}

#[test]
fn snapshots_are_handed_on() {
    let Some(server) = RedisServer::start() else { return };
    let snapshots = RedisSnapshots::new(&server.pool("test"));
    assert!(snapshots.get("one").unwrap_err().is_not_found());
    snapshots.put(&[("two", &b"\0\xff"[..]), ("one", b"")]).unwrap();
    snapshots.put(&[]).unwrap();
    assert_eq!(snapshots.names().unwrap(), ["one", "two"]);
    assert_eq!(snapshots.get("two").unwrap(), b"\0\xff");
    snapshots.put(&[("two", &RedisSnapshots::record(&(1_u64, "text")))]).unwrap();
    assert_eq!(snapshots.get_record::<(u64, String)>("two").unwrap(), (1, "text".into()));
    assert!(matches!(snapshots.get_record::<u64>("one").unwrap_err(), Error::Corrupt { .. }));
    snapshots.remove("one").unwrap();
    assert_eq!(snapshots.names().unwrap(), ["two"]);
}

#[test]
fn a_server_that_is_killed_and_comes_back_has_lost_nothing_it_acknowledged() {
    let Some(mut server) = RedisServer::start() else { return };
    let pool = server.pool("test");
    let store = store(&pool);
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            let id = format!("f{round}_{i}");
            register(&store, &id).unwrap();
            acknowledged.push(id);
        }
        server.stop();
        let error = register(&store, "meanwhile").unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.is_retryable(), "{error}");
        server.run();
        // The pool finds it by itself: nothing that it held is still good, which a read gets over.
        store.get(&FeatureRef::new("f0_0", 1)).unwrap();
    }
    for id in &acknowledged {
        store.get(&FeatureRef::new(id, 1)).unwrap();
    }
    assert_eq!(store.verify().unwrap().seq, acknowledged.len() as u64);
}

#[test]
fn a_connection_that_is_cut_is_replaced() {
    let Some(server) = RedisServer::start() else { return };
    let (pool, store, mut meddler) = with_one_feature(&server);
    for _ in 0..5 {
        redis::cmd("CLIENT")
            .arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes")
            .exec(&mut meddler)
            .unwrap();
        store.get(&FeatureRef::new("a", 1)).unwrap();
    }
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes")
        .exec(&mut meddler)
        .unwrap();
    // Whether a write was carried out nobody knows, so it is not done again.
    let storage = RedisFeatureStorage::new(&pool);
    let trail = ModelRegistry::in_memory();
    trail.bind_slot("cards", Digest::default(), sign("test")).unwrap();
    let log = RedisRegistryLog::new(&pool);
    let error = log.append(&trail.audit()[0]).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    log.append(&trail.audit()[0]).unwrap();
    assert_eq!(storage.head().unwrap().seq, 1);
}

#[test]
fn a_server_that_does_not_answer_costs_its_time_out_and_no_more() {
    let Some(server) = RedisServer::start() else { return };
    let timeout = Duration::from_millis(100);
    let config = RedisConfig {
        response_timeout: timeout,
        connect_timeout: timeout,
        max_connections: 2,
        ..server.config("test")
    };
    let pool = RedisPool::new(config).unwrap();
    let store = store(&pool);
    register(&store, "a").unwrap();
    server.signal("STOP");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let begun = Instant::now();
                let error = store.get(&FeatureRef::new("a", 1)).unwrap_err();
                assert!(matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut), "{error}");
                // A wait for a connection, the connection, the answer; and as much again for a busy machine.
                assert!(begun.elapsed() < 6 * timeout, "it took {:?}", begun.elapsed());
            });
        }
    });
    server.signal("CONT");
    // What it answers now to the questions of before is nobody's answer.
    for _ in 0..10 {
        assert_eq!(&*store.get(&FeatureRef::new("a", 1)).unwrap().feature.id, "a");
    }
}

#[test]
fn something_else_under_a_key_is_corrupt_and_changes_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let (pool, store, mut meddler) = with_one_feature(&server);
    let foreign = |error: Error| assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let mut put = |key: &str| redis::cmd("SET").arg(key).arg("x").exec(&mut meddler).unwrap();
    // An index that the commit is to change, found before anything is written.
    put("{test}:features:index:tag:odd");
    foreign(
        store
            .document(&FeatureRef::new("a", 1), 1, documentation(&["odd"]), sign("test"))
            .unwrap_err(),
    );
    assert_eq!(store.get(&FeatureRef::new("a", 1)).unwrap().revision, 1);
    assert_eq!(store.verify().unwrap().seq, 1);
    put("{test}:registry:log");
    foreign(RedisRegistryLog::new(&pool).read(0, 10).unwrap_err());
    put("{test}:predictions:fraud@1");
    let log = RedisPredictionLog::new(&pool, PredictionLogConfig::default()).unwrap();
    foreign(log.recent(&model(), 10).unwrap_err());
    put("{test}:alerts");
    foreign(RedisAlertHistory::new(&pool, 9).unwrap().between(NOW..NOW, 1).unwrap_err());
    put(&format!("{{test}}:artifact:{}", Digest::of(b"x")));
    let artifacts = RedisArtifactStore::new(&pool);
    foreign(artifacts.get(&Digest::of(b"x")).unwrap_err());
    foreign(artifacts.put(b"x").unwrap_err());
    put("{test}:snapshots");
    foreign(RedisSnapshots::new(&pool).get("x").unwrap_err());
}

#[test]
fn a_full_server_refuses_writes_and_answers_reads() {
    let Some(server) = RedisServer::start() else { return };
    let (pool, store, mut meddler) = with_one_feature(&server);
    let log = RedisPredictionLog::new(&pool, PredictionLogConfig::default()).unwrap();
    let mut memory = |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut meddler).unwrap()
    };
    memory("1");
    let error = register(&store, "b").unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    log.record(&prediction(1, 0), &[]);
    assert!(log.flush().unwrap_err().is_retryable());
    assert!(store.get(&FeatureRef::new("b", 1)).unwrap_err().is_not_found());
    assert_eq!(store.verify().unwrap().seq, 1);
    memory("0");
    register(&store, "b").unwrap();
    assert_eq!(store.verify().unwrap().seq, 2);
    assert_eq!(log.flush().unwrap(), 1, "it waited");
    assert_eq!(log.recent(&model(), 10).unwrap().len(), 1);
    assert_eq!(log.lost(), 0);
}

#[test]
fn secrets_are_not_shown() {
    let config = RedisConfig::new("redis://anna:s3cret@127.0.0.1:1/0");
    let pool = RedisPool::new(config.clone()).unwrap();
    let error = pool.ping().unwrap_err();
    for shown in [format!("{config:?}"), format!("{pool:?}"), format!("{error} {error:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("127.0.0.1:1"), "{shown}");
    }
    let error = RedisPool::new(RedisConfig::new("redis://anna:s3cret@")).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let bad = |change: fn(&mut RedisConfig)| {
        let mut config = RedisConfig::new("redis://127.0.0.1/");
        change(&mut config);
        assert!(matches!(RedisPool::new(config), Err(Error::InvalidConfig { .. })));
    };
    bad(|config| config.url = "http://127.0.0.1/".into());
    let error = RedisPool::new(RedisConfig::new("rediss://127.0.0.1/")).unwrap_err();
    assert!(error.to_string().contains("there is no TLS"), "{error}");
    bad(|config| config.namespace = "a}b".into());
    bad(|config| config.response_timeout = Duration::ZERO);
    bad(|config| config.max_connections = 0);
}
