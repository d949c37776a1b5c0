//! The tree engine measured.
//!
//! ```text
//! cargo bench --bench trees -- handbook transactions.csv.gz   # quality on the Fraud Detection Handbook's protocol
//! ```

mod handbook;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["handbook", data] => handbook::run(data.as_ref()),
        _ => {
            eprintln!("usage: trees handbook FILE");
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
