//! Processes beside each other, as a user starts them: one report, the same as that of one process.

use std::process::{Command, Stdio};

#[test]
fn four_processes_and_one_redis_report_what_one_process_does() {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
        eprintln!("skipped: redis-server is not installed");
        return;
    }
    // Examples lie beside the folder of test binaries; `cargo test` builds them, `cargo test --test` does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("fleet");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "build it first: cargo build --example fleet");
    let output = Command::new(example).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let parts: Vec<u64> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("worker ")?.split(' ').nth(1)?.parse().ok())
        .collect();
    assert!(parts.len() == 4 && parts.iter().all(|part| *part > 1000), "{text}");
    assert!(text.contains(&format!("4 processes answer {} requests", parts.iter().sum::<u64>())));
    assert!(text.trim_end().ends_with("and one process alone writes the same"), "{text}");
}
