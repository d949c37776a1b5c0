//! A redis-server of the example's own, and a connection with time-outs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(10);

/// Ends with this value.
pub(crate) struct RedisServer {
    server: Child,
    folder: PathBuf,
    url: String,
}

impl RedisServer {
    /// A server that keeps nothing and listens at a socket in a folder of its own.
    pub(crate) fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("riskcycle-fleet-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let socket = folder.join("redis.sock");
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start redis-server, give the URL of one: {error}"))?;
        let url = format!("redis+unix://{}", socket.display());
        let server = RedisServer { server, folder, url };
        let started = Instant::now();
        loop {
            match connect(&server.url) {
                Ok(_) => return Ok(server),
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It keeps nothing, and a folder that stays behind does no harm.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A connection that does not wait for ever, which is what the client does unless told.
pub(crate) fn connect(url: &str) -> Result<redis::Connection> {
    let connection = redis::Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}
