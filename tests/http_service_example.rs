//! The service as a newcomer starts it: it says how it is called, answers, and ends on ctrl-c with what it has begun answered.
#![cfg(all(feature = "http", unix))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Ends with the test, whatever comes of it.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head =
        format!("{head} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}");
    write!(stream, "{head}\r\ncontent-type: application/json\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_printed_request_is_answered_with_reasons_and_ctrl_c_ends_it() {
    // Examples lie beside the folder of test binaries; `cargo test` builds them, `cargo test --test` does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("http_service");
    assert!(example.exists(), "build it first: cargo build --example http_service --features http");
    let service = Command::new(example).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
    let mut service = Service(service.unwrap());
    let mut lines = BufReader::new(service.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| {
        let rest = line.strip_prefix("answering on http://")?;
        Some(rest.split(';').next().unwrap().to_owned())
    });
    let address = address.unwrap();
    let printed = lines.find(|line| line.contains("/predict/card-fraud")).unwrap();
    let body = printed.split(" -d '").nth(1).unwrap().trim_end_matches('\'');
    let answer = ask(&address, "POST /predict/card-fraud", body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(answer["score"].as_f64().unwrap() > 0.5, "the riskiest row: {answer}");
    assert!(!answer["reasons"].as_array().unwrap().is_empty(), "{answer}");
    let label = ask(&address, "POST /labels/card-fraud", r#"{"labels": [{"id": 1, "bad": true}]}"#);
    assert!(label.contains(r#""joined":1"#), "{label}");

    let pid = service.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(service.0.wait().unwrap().success());
    assert!(lines.any(|line| line.starts_with("stopping")));
}
