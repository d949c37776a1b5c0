//! The champion–challenger example as a user runs it: from the plan to the verdict.
#![cfg(feature = "linfa")]

use std::process::Command;

#[test]
fn the_example_ends_with_a_verdict_and_a_whole_trail() {
    // Examples lie beside the folder of test binaries; `cargo test` builds them, `cargo test --test` does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("champion_challenger");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "build it first: cargo build --example champion_challenger");
    let output = Command::new(&example).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("100.0 % of requests old enough"), "{text}");
    assert!(text.contains("as planned"), "{text}");
    assert!(text.contains("verdict: ship arm 1"), "{text}");
    assert!(text.contains("tree@1 is champion now"), "{text}");
    assert!(text.contains("decided by the plan: ship arm 1"), "{text}");

    let missing = Command::new(&example).arg("no/such/file.csv").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}
