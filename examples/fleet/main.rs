//! Four processes that answer requests side by side, one Redis between them, and one report: the same, byte for byte, that one
//! process would have written.
//!
//! ```text
//! cargo run --release --example fleet                              # starts a redis-server of its own for as long as it runs
//! cargo run --release --example fleet -- redis://127.0.0.1/3       # uses this one; keys begin with `fleet:`
//! ```
//!
//! The first process trains two models and leaves them in Redis. The workers take them from there and answer the requests of
//! a quarter of the customers each, in an experiment of one model against the other; each leaves what it has counted in Redis.
//! The first process puts the parts together in the order in which they are finished, and compares.

mod counted;
mod plan;
mod redis_server;

use std::error::Error;
use std::process::{Command, ExitCode};

use counted::Counted;
use plan::Plan;
use redis_server::{RedisServer, connect};

const WORKERS: u64 = 4;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [] => RedisServer::start().and_then(|server| lead(server.url())),
        ["worker", number, url] => work(number, url),
        [url] => lead(url),
        _ => Err("usage: fleet [URL OF A REDIS]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lead(url: &str) -> Result<()> {
    let mut redis = connect(url)?;
    let plan = Plan::new()?;
    println!("1  two models, trained on {} rows, wait in Redis", plan.train().n_rows());
    let artifacts = plan.train_models()?;
    let kept: Vec<Vec<u8>> = artifacts.iter().map(|artifact| artifact.to_bytes()).collect();
    let mut keep = redis::pipe();
    keep.atomic().del("fleet:finished").ignore().del("fleet:models").ignore();
    keep.rpush("fleet:models", &kept).ignore().exec(&mut redis)?;

    println!("2  {WORKERS} processes answer {} requests", plan.live().len());
    let program = std::env::current_exe()?;
    let worker =
        |number: u64| Command::new(&program).args(["worker", &number.to_string(), url]).spawn();
    let workers = (0..WORKERS).map(worker).collect::<std::io::Result<Vec<_>>>()?;
    for (number, mut worker) in workers.into_iter().enumerate() {
        if !worker.wait()?.success() {
            return Err(format!("worker {number} failed").into());
        }
    }
    let finished: Vec<u64> =
        redis::cmd("LRANGE").arg("fleet:finished").arg(0).arg(-1).query(&mut redis)?;
    println!("3  what they counted, put together as they came in: {finished:?}");
    let mut fleet: Option<Counted> = None;
    for number in &finished {
        let part = Counted::fetch(&mut redis, *number, &plan)?;
        println!("   worker {number}: {} requests", part.n_requests());
        match &mut fleet {
            None => fleet = Some(part),
            Some(fleet) => fleet.merge(&part)?,
        }
    }
    let fleet = fleet.ok_or("no worker has finished")?.report(&plan, &artifacts)?;

    println!("4  the report\n{fleet}");
    let alone = plan.count(&artifacts, |_| true)?.report(&plan, &artifacts)?;
    if fleet != alone {
        return Err(format!("one process alone would have written:\n{alone}").into());
    }
    println!("   {} bytes, and one process alone writes the same", fleet.len());
    Ok(())
}

/// A quarter of the customers.
fn work(number: &str, url: &str) -> Result<()> {
    let number: u64 = number.parse()?;
    let mut redis = connect(url)?;
    let plan = Plan::new()?;
    let kept: Vec<Vec<u8>> =
        redis::cmd("LRANGE").arg("fleet:models").arg(0).arg(-1).query(&mut redis)?;
    let artifacts = plan.read_models(&kept)?;
    let counted = plan.count(&artifacts, |customer| customer % WORKERS == number)?;
    counted.leave(&mut redis, number)
}
