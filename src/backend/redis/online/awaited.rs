//! Live features that processes share, awaited.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use redis::RedisResult;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::runtime::Handle;

use super::process::{Batch, OBSERVE, Process};
use super::script::{self, Answers};
use super::{RedisOnlineConfig, SharedObserved};
use crate::backend::redis::RedisPool;
use crate::backend::redis::server::Server;
use crate::error::{Error, Result};
use crate::feature::FeaturePlan;
use crate::schema::FeatureSchema;

/// [`RedisOnlineFeatures`](super::RedisOnlineFeatures) whose events are awaited: the same state, numbers and limits, for a host
/// on tokio that would otherwise hold a thread for each event that is under way.
///
/// # Concurrency
/// Any number of tasks share one connection, over which their calls go one behind the other without waiting for each other's
/// answers. The connection is replaced when it breaks and when an answer does not come in time.
///
/// # Cancellation
/// An event whose future is dropped before it is done was observed in memory, and waits to be counted.
///
/// ```no_run
/// # use riskcycle::backend::{AsyncRedisOnlineFeatures, RedisConfig, RedisOnlineConfig, RedisPool};
/// # use riskcycle::testing::{handbook::{self, Transaction}, online_features};
/// # async fn answer(event: Transaction) -> riskcycle::Result<()> {
/// let pool = RedisPool::new(RedisConfig::new("redis://127.0.0.1/"))?;
/// let plan = online_features::definition().bind(&handbook::events())?;
/// let shared = AsyncRedisOnlineFeatures::new(&pool, &plan, RedisOnlineConfig::default())?;
/// let mut row = vec![0.0; shared.schema().n_features()];
/// let seen = shared.observe(&event, &mut row).await?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncRedisOnlineFeatures<E> {
    process: Process<E>,
    connection: Mutex<ConnectionManager>,
}

impl<E> AsyncRedisOnlineFeatures<E> {
    /// The state of a definition in the pool's namespace, on a connection of its own to the pool's server, which is made when
    /// it is needed.
    ///
    /// # Errors
    /// As [`RedisOnlineFeatures::new`](super::RedisOnlineFeatures::new); `InvalidConfig` outside a runtime of tokio.
    pub fn new(pool: &RedisPool, plan: &FeaturePlan<E>, config: RedisOnlineConfig) -> Result<Self> {
        if Handle::try_current().is_err() {
            return Err(Error::config("shared features", "needs a runtime of tokio around it"));
        }
        let process = Process::new(pool.server(), plan, config)?;
        let connection = Mutex::new(connection(pool.server())?);
        Ok(AsyncRedisOnlineFeatures { process, connection })
    }

    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        self.process.schema()
    }

    /// Writes the features of an event into `out` as they stand, and counts the event. Its label is never read.
    ///
    /// # Errors
    /// As [`RedisOnlineFeatures::observe`](super::RedisOnlineFeatures::observe).
    pub async fn observe(&self, event: &E, out: &mut [f64]) -> Result<SharedObserved> {
        let (observed, batch) = self.process.observe(event, out)?;
        let answers = self.send(&batch).await;
        self.process.conclude(event, observed, batch.answered(answers)?, out)
    }

    /// Hands all events that wait to the server, if it is back; how many still wait.
    ///
    /// # Errors
    /// As [`RedisOnlineFeatures::flush`](super::RedisOnlineFeatures::flush).
    pub async fn flush(&self) -> Result<usize> {
        self.process.try_again();
        while let Some(batch) = self.process.next_waiting() {
            let answers = self.send(&batch).await;
            batch.answered(answers)?;
        }
        Ok(self.waiting())
    }

    /// Events that wait for the server.
    pub fn waiting(&self) -> usize {
        self.process.waiting()
    }

    /// Events that the other processes never count.
    pub fn lost(&self) -> u64 {
        self.process.lost()
    }

    async fn send(&self, batch: &Batch<'_, E>) -> Result<Answers> {
        if batch.is_empty() {
            return Ok(Answers::new());
        }
        let calls = batch.calls();
        let mut answers = self.call(&calls).await;
        if answers.as_ref().is_err_and(|error| error.is_connection_dropped()) {
            answers = self.call(&calls).await;
        }
        if answers.as_ref().is_err_and(|error| error.is_timeout()) {
            // A server that vanished without a word would be written to until the system gives up, a quarter of an hour later.
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) =
                connection(&self.process.server)?;
        }
        answers.map_err(|error| self.process.server.failed(OBSERVE, error))
    }

    async fn call(&self, calls: &redis::Pipeline) -> RedisResult<Answers> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answers: Answers = calls.query_async(&mut connection).await?;
        if !script::is_lacking(&answers) {
            return Ok(answers);
        }
        script::OBSERVE.load_async(&mut connection).await?;
        calls.query_async(&mut connection).await
    }
}

/// A connection that is made with the first call. One attempt at a time: events wait in memory, not for a connection.
fn connection(server: &Server) -> Result<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(server.config.connect_timeout))
        .set_response_timeout(Some(server.config.response_timeout));
    ConnectionManager::new_lazy_with_config(server.client.clone(), config)
        .map_err(|error| server.failed("prepare a connection", error))
}

impl<E> fmt::Debug for AsyncRedisOnlineFeatures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncRedisOnlineFeatures").field(&self.process).finish()
    }
}
