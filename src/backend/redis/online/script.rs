//! The script that counts an event, and what it answers.

use std::sync::LazyLock;

use redis::{ErrorKind, FromRedisValue, Pipeline, RedisResult, Script, ServerErrorKind, Value};

use super::config::RedisOnlineConfig;
use crate::error::{Error, Result};
use crate::feature::TileVisit;

/// Counts an event once: 1 if it was not there before, else 0. Tiles of no use go when there are a quarter and some more
/// than were kept the last time: to look for them with each new tile took most of the script's time.
///
/// KEYS: the event, then one hash per source. ARGV: milliseconds to remember the event and to keep hashes; per source: number
/// of counters to add to, their names and what to add; number of series, the oldest tile of each that is needed.
pub(super) static OBSERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for i = 2, #KEYS do redis.call('HLEN', KEYS[i]) end
        local new = redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1])
        if not new then return 0 end
        local next = 3
        for i = 2, #KEYS do
            local key, fresh, n = KEYS[i], false, tonumber(ARGV[next])
            for j = next + 1, next + 2 * n, 2 do
                local value = redis.call('HINCRBY', key, ARGV[j], ARGV[j + 1])
                fresh = fresh or value == 1 and ARGV[j]:sub(-2) == ':0'
            end
            if n > 0 then redis.call('PEXPIRE', key, ARGV[2]) end
            next = next + 2 * n + 1
            local n_series = tonumber(ARGV[next])
            local kept = fresh and tonumber(redis.call('HGET', key, 'kept') or 0)
            if kept and redis.call('HLEN', key) > kept + kept / 4 + 16 then
                for _, field in ipairs(redis.call('HKEYS', key)) do
                    local series, tile = field:match('^(%d+):(-?%d+):')
                    local oldest = series and ARGV[next + 1 + tonumber(series)]
                    if oldest and tonumber(tile) < tonumber(oldest) then redis.call('HDEL', key, field) end
                end
                redis.call('HSET', key, 'kept', redis.call('HLEN', key))
            end
            next = next + n_series + 1
        end
        return 1",
    )
});

/// What an event adds to the counters of its entities, by source.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) id: u64,
    pub(super) sources: Vec<TileVisit>,
}

/// An event that is on the server.
#[derive(Debug)]
pub(super) struct Counted {
    /// Whether it was not there before.
    pub(super) new: bool,
    /// All counters of its entity, by source.
    pub(super) counters: Vec<Vec<(String, i64)>>,
}

/// One for each visit; then one for each source of the last, if its counters were asked for.
pub(super) type Answers = Vec<RedisResult<Value>>;

/// Visits to the server, all in one round trip; and a look at all counters of the last, which is faster than to have the script
/// hand them on. A second time is as good as once: the server knows an event by its id.
pub(super) fn calls(
    prefix: &str,
    config: &RedisOnlineConfig,
    visits: &[Visit],
    read_last: bool,
) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors(); // of one, for the others
    let key = |(s, visit): (usize, &TileVisit)| format!("{prefix}{s}:{}", visit.key.0);
    for Visit { id, sources } in visits {
        let mut call = OBSERVE.key(format!("{prefix}event:{id}"));
        call.arg(config.remember.as_millis() as u64).arg(config.forget.as_millis() as u64);
        for (s, visit) in sources.iter().enumerate() {
            call.key(key((s, visit))).arg(visit.adds.len());
            visit.adds.iter().for_each(|(name, add)| {
                call.arg(name).arg(*add);
            });
            call.arg(visit.oldest.len()).arg(&visit.oldest);
        }
        pipeline.invoke_script(&call);
    }
    for visit in
        visits.last().filter(|_| read_last).iter().flat_map(|last| last.sources.iter().enumerate())
    {
        pipeline.cmd("HGETALL").arg(key(visit));
    }
    pipeline
}

/// Whether the server has to be given the script first.
pub(super) fn is_lacking(answers: &Answers) -> bool {
    let no_script = ErrorKind::Server(ServerErrorKind::NoScript);
    answers.iter().any(|answer| answer.as_ref().is_err_and(|error| error.kind() == no_script))
}

/// Whether an event was new.
pub(super) fn decode_new(answer: Value) -> Result<bool> {
    decode(answer).map(|new: i64| new == 1)
}

/// Whether an event was new, and its counters.
pub(super) fn decode_counted(new: Result<Value>, counters: Vec<Result<Value>>) -> Result<Counted> {
    let new = new.and_then(decode_new)?;
    let counters = counters.into_iter().map(|answer| {
        let mut counters: Vec<(String, i64)> = answer.and_then(decode)?;
        counters.retain(|(name, _)| name != "kept");
        Ok(counters)
    });
    Ok(Counted { new, counters: counters.collect::<Result<_>>()? })
}

fn decode<T: FromRedisValue>(answer: Value) -> Result<T> {
    let foreign = |_| Error::corrupt("shared features", "the server gave another answer");
    redis::from_redis_value(answer).map_err(foreign)
}
