//! Predictions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::pool::RedisPool;
use crate::backend::prediction_queue::PredictionQueue;
use crate::codec;
use crate::error::{Error, Result};
use crate::evaluate::Decision;
use crate::ids::ModelRef;
use crate::monitor::{Logged, PredictionLog, PredictionLogConfig};
use crate::serve::Prediction;
use crate::time::{Timestamp, micros};

/// Keeps the last predictions of each version in Redis, of all processes together, newest by their own moments; and for
/// each hour how many there were and what they decided, also of those that have made room since.
///
/// [`record`](PredictionLog::record) puts a prediction in line, in memory; [`flush`](Self::flush) writes all that wait. The
/// host calls it from time to time, say every second from a [`MonitoringThread`](crate::monitoring::MonitoringThread), and
/// once before it ends. At most 65,536 wait, and while the server is away they go on waiting; beyond that the oldest are
/// dropped, and counted. Reading flushes first. Moments are exact until the year 2255.
#[derive(Debug)]
pub struct RedisPredictionLog {
    pool: RedisPool,
    queue: PredictionQueue,
    keep: Option<Duration>,
}

/// What a version answered over some hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PredictionSummary {
    /// Predictions.
    pub n: u64,
    /// Those with a score.
    pub n_scored: u64,
    /// Sum of scores, in billionths.
    pub score_billionths: u64,
    /// Approved.
    pub n_approved: u64,
    /// Sent to review.
    pub n_reviewed: u64,
    /// Declined.
    pub n_declined: u64,
    /// Answered by other than the arm's own model.
    pub n_fallback: u64,
}

impl PredictionSummary {
    /// Mean score, to a billionth; `None` without one.
    pub fn mean_score(&self) -> Option<f64> {
        (self.n_scored > 0).then(|| self.score_billionths as f64 / 1e9 / self.n_scored as f64)
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 7] {
        [
            ("n", &mut self.n),
            ("scored", &mut self.n_scored),
            ("score", &mut self.score_billionths),
            ("approved", &mut self.n_approved),
            ("reviewed", &mut self.n_reviewed),
            ("declined", &mut self.n_declined),
            ("fallback", &mut self.n_fallback),
        ]
    }

    fn count(&mut self, prediction: &Prediction) {
        self.n += 1;
        if let Some(score) = prediction.score {
            self.n_scored += 1;
            self.score_billionths += (score * 1e9).round() as u64; // a probability
        }
        *match prediction.decision {
            Decision::Approve => &mut self.n_approved,
            Decision::Review => &mut self.n_reviewed,
            Decision::Decline => &mut self.n_declined,
        } += 1;
        self.n_fallback += u64::from(prediction.fallback.is_some());
    }
}

const HOUR: i64 = 3_600_000_000;
/// Predictions in one call of the script, which other clients wait for: a millisecond or two.
const CHUNK: usize = 500;
/// Hours that one question may be about: some ten years.
const MAX_HOURS: i64 = 100_000;

/// Adds predictions to those of a version and counts those that were not there; then makes room.
///
/// KEYS: predictions of the version, prefix of its hours. ARGV: capacity, milliseconds to keep or 0, score of the oldest to
/// keep or "", names of the counts and their number; per prediction: moment, record, hour, its counts.
static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        redis.call('ZCARD', KEYS[1])
        local n_counts, next, hours = tonumber(ARGV[4]), 5 + tonumber(ARGV[4]), {}
        while next <= #ARGV do
            local hour = KEYS[2] .. ARGV[next + 2]
            if redis.call('ZADD', KEYS[1], ARGV[next], ARGV[next + 1]) == 1 then
                hours[hour] = hours[hour] or {}
                for i = 1, n_counts do
                    hours[hour][i] = (hours[hour][i] or 0) + tonumber(ARGV[next + 2 + i])
                end
            end
            next = next + 3 + n_counts
        end
        for hour, counts in pairs(hours) do
            for i = 1, n_counts do
                if counts[i] > 0 then
                    redis.call('HINCRBY', hour, ARGV[4 + i], string.format('%.0f', counts[i]))
                end
            end
            if ARGV[2] ~= '0' then redis.call('PEXPIRE', hour, ARGV[2]) end
        end
        if ARGV[3] ~= '' then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3]) end
        redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
        if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        return 0",
    )
});

impl RedisPredictionLog {
    /// The predictions of the pool's namespace.
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity of zero or a share outside `0.0..=1.0`.
    pub fn new(pool: &RedisPool, config: PredictionLogConfig) -> Result<Self> {
        let queue = PredictionQueue::new(config)?;
        Ok(RedisPredictionLog { pool: pool.clone(), queue, keep: None })
    }

    /// Forgets predictions that are this much older than the newest of their version, and everything of a version and of an
    /// hour that nothing was written to for so long.
    #[must_use]
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = Some(time);
        self
    }

    /// Writes all that waits; how many predictions that were.
    ///
    /// # Errors
    /// `Io`; they wait again then. What was written before the error is not counted twice.
    pub fn flush(&self) -> Result<usize> {
        self.queue.flush(|batch| {
            let mut by_model: BTreeMap<&ModelRef, Vec<&Logged>> = BTreeMap::new();
            for logged in batch {
                by_model.entry(&logged.prediction.model).or_default().push(logged);
            }
            let chunks = by_model
                .iter()
                .flat_map(|(model, all)| all.chunks(CHUNK).map(move |chunk| (*model, chunk)));
            chunks.into_iter().try_for_each(|(model, chunk)| self.write(model, chunk))
        })
    }

    /// Predictions that were dropped because too many waited.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// What a version answered in the hours that `range` touches, each of them whole. From counts: O(hours).
    ///
    /// # Errors
    /// `InvalidInput` for more than 100,000 hours; `Io`.
    pub fn summary(&self, model: &ModelRef, range: Range<Timestamp>) -> Result<PredictionSummary> {
        let mut summary = PredictionSummary::default();
        if range.is_empty() {
            return Ok(summary);
        }
        self.flush()?;
        let first = range.start.micros().div_euclid(HOUR);
        let last = (range.end.micros() - 1).div_euclid(HOUR);
        if last - first >= MAX_HOURS {
            return Err(Error::input("range", format!("is of more than {MAX_HOURS} hours")));
        }
        let names = summary.fields().map(|(name, _)| name);
        let mut call = redis::pipe();
        for hour in first..=last {
            call.cmd("HMGET").arg(self.hours(model) + &hour.to_string()).arg(&names);
        }
        let hours: Vec<Vec<Option<u64>>> =
            self.pool.read("read counts of predictions", |connection| call.query(connection))?;
        for hour in &hours {
            for ((_, sum), count) in summary.fields().into_iter().zip(hour) {
                *sum += count.unwrap_or(0);
            }
        }
        Ok(summary)
    }

    fn write(&self, model: &ModelRef, chunk: &[&Logged]) -> Result<()> {
        let newest = chunk.iter().map(|logged| logged.prediction.at).max();
        let oldest = self.keep.zip(newest).map(|(time, newest)| newest.minus(time).micros());
        let mut call = WRITE.key(self.key(model));
        call.key(self.hours(model)).arg(self.queue.config.capacity);
        call.arg(self.keep.map_or(0, |time| micros(time) / 1000));
        call.arg(oldest.map_or(String::new(), |oldest| oldest.to_string()));
        let names = PredictionSummary::default().fields().map(|(name, _)| name);
        call.arg(names.len()).arg(&names);
        for logged in chunk {
            let at = logged.prediction.at.micros();
            call.arg(at).arg(codec::encode(logged)).arg(at.div_euclid(HOUR));
            let mut counts = PredictionSummary::default();
            counts.count(&logged.prediction);
            counts.fields().into_iter().for_each(|(_, count)| {
                call.arg(*count);
            });
        }
        self.pool.write("log predictions", |connection| call.invoke(connection))
    }

    fn key(&self, model: &ModelRef) -> String {
        self.pool.key(format_args!("predictions:{model}"))
    }

    fn hours(&self, model: &ModelRef) -> String {
        self.pool.key(format_args!("prediction counts:{model}:"))
    }

    fn newest(&self, model: &ModelRef, from: String, to: String, n: usize) -> Result<Vec<Logged>> {
        self.flush()?;
        let key = self.key(model);
        let kept: Vec<Vec<u8>> = self.pool.read("read predictions", |connection| {
            let mut call = redis::cmd("ZREVRANGEBYSCORE");
            call.arg(&key).arg(&to).arg(&from).arg("LIMIT").arg(0).arg(n).query(connection)
        })?;
        kept.iter().map(|bytes| codec::decode(bytes, "prediction")).collect()
    }
}

impl PredictionLog for RedisPredictionLog {
    fn record(&self, prediction: &Prediction, row: &[f64]) {
        self.queue.put(prediction, row);
    }

    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Logged>> {
        self.newest(model, "-inf".into(), "+inf".into(), n)
    }

    fn between(&self, model: &ModelRef, range: Range<Timestamp>, n: usize) -> Result<Vec<Logged>> {
        let to = format!("({}", range.end.micros());
        self.newest(model, range.start.micros().to_string(), to, n)
    }
}
