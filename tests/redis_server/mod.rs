//! A redis-server of the test's own, on a socket in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use riskcycle::backend::{RedisConfig, RedisPool};

/// Ends with the test.
pub(crate) struct RedisServer {
    folder: PathBuf,
    process: Option<Child>,
}

impl RedisServer {
    /// `None`, with a message, where there is no redis-server; on a machine that has `CI` set that is a failure.
    pub(crate) fn start() -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if found.is_err() {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("riskcycle-redis-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut server = RedisServer { folder, process: None };
        server.run();
        Some(server)
    }

    /// Starts the process, again if it was stopped. Every write is on the disk before it is acknowledged.
    pub(crate) fn run(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .arg("--unixsocket")
            .arg(self.folder.join("socket"))
            .arg("--dir")
            .arg(&self.folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let pool = self.pool("start");
        let begun = Instant::now();
        while let Err(error) = pool.ping() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "redis-server does not start: {error}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends the process a signal by its name.
    #[allow(dead_code)] // not all that start a server have a use for it
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub(crate) fn config(&self, namespace: &str) -> RedisConfig {
        let url = format!("redis+unix://{}", self.folder.join("socket").display());
        RedisConfig { namespace: namespace.to_owned(), ..RedisConfig::new(&url) }
    }

    pub(crate) fn pool(&self, namespace: &str) -> RedisPool {
        RedisPool::new(self.config(namespace)).unwrap()
    }

    /// A namespace that nobody has used.
    #[allow(dead_code)] // as above
    pub(crate) fn fresh(&self) -> RedisPool {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        self.pool(&format!("fresh {}", COUNTER.fetch_add(1, Ordering::Relaxed)))
    }

    /// A connection beside the pools', to look and to meddle.
    #[allow(dead_code)] // as above
    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.config("any").url.as_str()).unwrap().get_connection().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
