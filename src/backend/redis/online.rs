//! Live features that processes share.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::Script;
use serde::{Deserialize, Serialize};

use super::pool::RedisPool;
use crate::error::{Error, Result};
use crate::feature::{
    FeaturePlan, Observed, OnlineConfig, OnlineFeatures, TilePlan, TileVisit, TooLate,
};
use crate::schema::FeatureSchema;
use crate::time::micros;

/// Parameters of [`RedisOnlineFeatures`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisOnlineConfig {
    /// How long an event is known by its id, so that it is not counted twice: about 100 bytes on the server for each event
    /// within this time.
    pub remember: Duration,
    /// How late, by its own time, an event may come and still find its windows whole.
    pub lateness: Duration,
    /// An entity that nothing was heard of for this long, by the server's clock, is forgotten; at least the widest window.
    pub forget: Duration,
    /// After a failure the server is left alone for this long.
    pub pause: Duration,
    /// Most events that wait for a server that is away, some 500 bytes each; the oldest make room.
    pub max_waiting: usize,
    /// Of the engine in memory that answers meanwhile.
    pub local: OnlineConfig,
}

/// Ten minutes, an hour, 400 days; a second's pause, 100,000 events that wait.
impl Default for RedisOnlineConfig {
    fn default() -> Self {
        RedisOnlineConfig {
            remember: Duration::from_secs(600),
            lateness: Duration::from_secs(3600),
            forget: Duration::from_secs(400 * 86_400),
            pause: Duration::from_secs(1),
            max_waiting: 100_000,
            local: OnlineConfig { too_late: TooLate::Drop, ..OnlineConfig::default() },
        }
    }
}

/// How an event was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedObserved {
    /// What became of it.
    pub observed: Observed,
    /// Whether the vector is of the events of this process alone, as the server did not answer. The event waits to be
    /// counted by the others.
    pub degraded: bool,
}

/// Live feature state that any number of processes share through Redis, in one round trip per event.
///
/// # Which definitions
/// The state is whole numbers per tile of time, to which every process adds; nothing is read to be written back. So a
/// window has to begin and end between tiles: [`Width::Sawtooth`](crate::feature::Width::Sawtooth), calendar days or a lifetime, no delay, the
/// asking event included or excluded; and what is made of it has to add up: counts, sums, means, standard deviations.
/// Anything else is refused when it is bound, with the reason. Conditions, fields and formulas are as everywhere.
///
/// # Which numbers
/// Where the events of an entity come in order they are those of [`OnlineFeatures`], bit for bit. Events count as they arrive: a
/// vector sees what has arrived, in its own tile even what is later by its own time.
///
/// # When the server is away
/// An engine in memory has observed this process's events all the while: it answers, and the answer says so. The
/// events wait, and are counted when the server is back; by their ids, those that it had counted already are not counted
/// again within the time it remembers them.
///
/// # Concurrency
/// Share it by reference; the pool's connections bound how many events are under way at once.
///
/// # Cost
/// A round trip, and on the server a microsecond or so for each tile that the entity has. Per entity some 60 bytes for each
/// tile and sum.
pub struct RedisOnlineFeatures<E> {
    tiles: TilePlan<E>,
    pool: RedisPool,
    config: RedisOnlineConfig,
    /// What the keys of this definition begin with.
    prefix: String,
    local: OnlineFeatures<E>,
    away: Mutex<Away>,
    lost: AtomicU64,
}

/// Events that wait and are sent along with one that is observed: some milliseconds.
const SENT_ALONG: usize = 32;

/// What there is to do once the server is back.
#[derive(Debug, Default)]
struct Away {
    until: Option<Instant>,
    waiting: VecDeque<(u64, Vec<TileVisit>)>,
}

/// Counts an event once, and gives all counters of its entities.
///
/// KEYS: the event, then one hash per source. ARGV: milliseconds to remember the event and to keep hashes; per source: number
/// of counters to add to, their names and what to add; number of series, the oldest tile of each that is needed.
static OBSERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for i = 2, #KEYS do redis.call('HLEN', KEYS[i]) end
        local new = redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1])
        local next, found = 3, {new and 1 or 0}
        for i = 2, #KEYS do
            local key, fresh, n = KEYS[i], false, tonumber(ARGV[next])
            if new then
                for j = next + 1, next + 2 * n, 2 do
                    local value = redis.call('HINCRBY', key, ARGV[j], ARGV[j + 1])
                    fresh = fresh or value == 1 and ARGV[j]:sub(-2) == ':0'
                end
                if n > 0 then redis.call('PEXPIRE', key, ARGV[2]) end
            end
            next = next + 2 * n + 1
            local n_series = tonumber(ARGV[next])
            if fresh then
                for _, field in ipairs(redis.call('HKEYS', key)) do
                    local series, tile = field:match('^(%d+):(-?%d+):')
                    local oldest = series and ARGV[next + 1 + tonumber(series)]
                    if oldest and tonumber(tile) < tonumber(oldest) then redis.call('HDEL', key, field) end
                end
            end
            next = next + n_series + 1
            found[i] = redis.call('HGETALL', key)
        end
        return found",
    )
});

/// Whether the script counted the event, and the counters of each source.
type Counters = (bool, Vec<Vec<(String, i64)>>);

impl<E> RedisOnlineFeatures<E> {
    /// The state of a definition in the pool's namespace, shared by all that bind the same definition.
    ///
    /// # Errors
    /// `InvalidConfig` naming the first feature that cannot be shared, and why; for no time to remember or to forget; and as
    /// [`FeaturePlan::online`].
    pub fn new(pool: &RedisPool, plan: &FeaturePlan<E>, config: RedisOnlineConfig) -> Result<Self> {
        if config.remember.as_millis() == 0 || config.forget.as_millis() == 0 {
            return Err(Error::config("shared features", "needs time to remember and to forget"));
        }
        let tiles = TilePlan::new(plan)?;
        let local = plan.online(config.local)?;
        let prefix = pool.key(format_args!("online:{}:", plan.set().fingerprint().short()));
        Ok(RedisOnlineFeatures {
            tiles,
            pool: pool.clone(),
            config,
            prefix,
            local,
            away: Mutex::default(),
            lost: AtomicU64::new(0),
        })
    }

    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        self.tiles.plan().schema()
    }

    /// Writes the features of an event into `out` as they stand, and counts the event. Its label is never read.
    ///
    /// # Errors
    /// `SchemaMismatch` if `out` does not have one place per feature; those of the engine in memory, if it is to
    /// reject late events; `Corrupt` for keys that hold something else. A server that is away, slow or full is no error: the answer
    /// says that it is [`degraded`](SharedObserved::degraded).
    pub fn observe(&self, event: &E, out: &mut [f64]) -> Result<SharedObserved> {
        let observed = self.local.observe(event, out)?;
        let id = self.tiles.plan().events().id(event);
        let visits = self.tiles.visit(event, micros(self.config.lateness));
        let shared = match self.is_away() {
            true => None,
            false => self.reach(|| match self.send_waiting(SENT_ALONG)? {
                0 => self.send(id, &visits).map(Some),
                _ => Ok(None),
            })?,
        };
        let Some((new, counters)) = shared.flatten() else {
            self.wait(id, visits);
            return Ok(SharedObserved { observed, degraded: true });
        };
        self.tiles.vector(event, &counters, out)?;
        let observed = if new { Observed::New } else { Observed::Duplicate };
        Ok(SharedObserved { observed, degraded: false })
    }

    /// Hands all events that wait to the server, if it is back; how many still wait. [`observe`](Self::observe) hands on some
    /// at a time, and its answers are of this process alone until none is left.
    ///
    /// # Errors
    /// As `observe`.
    pub fn flush(&self) -> Result<usize> {
        self.reach(|| self.send_waiting(usize::MAX))?;
        Ok(self.waiting())
    }

    /// Events that wait for the server.
    pub fn waiting(&self) -> usize {
        self.away().waiting.len()
    }

    /// Events that were dropped because too many waited: the other processes never count them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Runs what needs the server; `None` if it is away, which is then left alone for a while.
    fn reach<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        match work() {
            Ok(done) => {
                self.away().until = None;
                Ok(Some(done))
            }
            Err(error) if error.is_retryable() => {
                self.away().until = Some(Instant::now() + self.config.pause);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_away(&self) -> bool {
        self.away().until.is_some_and(|until| Instant::now() < until)
    }

    fn wait(&self, id: u64, visits: Vec<TileVisit>) {
        let mut away = self.away();
        while away.waiting.len() >= self.config.max_waiting.max(1) {
            away.waiting.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        away.waiting.push_back((id, visits));
    }

    /// Sends the oldest events that wait, at most so many; how many still do.
    fn send_waiting(&self, most: usize) -> Result<usize> {
        for _ in 0..most {
            let Some((id, visits)) = self.away().waiting.pop_front() else { return Ok(0) };
            if let Err(error) = self.send(id, &visits) {
                self.away().waiting.push_front((id, visits));
                return Err(error);
            }
        }
        Ok(self.waiting())
    }

    fn send(&self, id: u64, visits: &[TileVisit]) -> Result<Counters> {
        let mut call = OBSERVE.key(format!("{}event:{id}", self.prefix));
        call.arg(self.config.remember.as_millis() as u64);
        call.arg(self.config.forget.as_millis() as u64);
        for (s, visit) in visits.iter().enumerate() {
            call.key(format!("{}{s}:{}", self.prefix, visit.key.0)).arg(visit.adds.len());
            visit.adds.iter().for_each(|(name, add)| {
                call.arg(name).arg(*add);
            });
            call.arg(visit.oldest.len()).arg(&visit.oldest);
        }
        // A second time is as good as once: the server knows the event by its id.
        let answer: Vec<redis::Value> =
            self.pool.read("observe an event", |connection| call.invoke(connection))?;
        let foreign = |_| Error::corrupt("shared features", "the server gave another answer");
        let mut answer = answer.into_iter();
        let new: i64 =
            redis::from_redis_value(answer.next().unwrap_or_default()).map_err(foreign)?;
        let counters = answer.map(redis::from_redis_value).collect::<std::result::Result<_, _>>();
        Ok((new == 1, counters.map_err(foreign)?))
    }

    fn away(&self) -> MutexGuard<'_, Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> fmt::Debug for RedisOnlineFeatures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOnlineFeatures")
            .field("pool", &self.pool)
            .field("config", &self.config)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
