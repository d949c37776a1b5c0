//! From a change in the world to a new champion: drift is noticed, a challenger is trained on labels that have matured, has to
//! beat the champion on later rows and beside it in shadow, and takes over.
//!
//! ```text
//! cargo run --release --example drift_to_retrain                                 # both streams
//! cargo run --release --example drift_to_retrain -- cards [--data TRANSACTIONS]  # card payments, a change of currency
//! cargo run --release --example drift_to_retrain -- electricity                  # the electricity market of New South Wales
//! ```
//! The cards are a seeded world that ships with riskcycle, or the Fraud Detection Handbook's raw transactions; from one day on
//! amounts arrive in another currency. The electricity market is Elec2 (M. Harries, 1999, public domain), which lies
//! under `tests/data`; its change is real: on 1997-05-05 the neighbouring state joins the market, and three columns that had stood
//! still begin to move.

mod cards;
mod electricity;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use riskcycle::{Error, Result};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        [] => {
            cards::scenario(None)?.play()?;
            electricity::scenario(&electricity::shipped())?.play()
        }
        ["cards"] => cards::scenario(None)?.play(),
        ["cards", "--data", path] => cards::scenario(Some(PathBuf::from(path)))?.play(),
        ["electricity"] => electricity::scenario(&electricity::shipped())?.play(),
        _ => {
            let reason =
                format!("{args:?}; known are cards [--data FILE], electricity, or nothing");
            Err(Error::InvalidInput { what: "command line", reason })
        }
    }
}
