//! The example on drift and retraining as a user runs it: both streams, and nothing before the change.

use std::process::Command;

fn run(args: &[&str]) -> (String, bool) {
    // Examples lie beside the folder of test binaries; `cargo test` builds them, `cargo test --test` does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("drift_to_retrain");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "build it first: cargo build --example drift_to_retrain");
    let output = Command::new(&example).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text + &String::from_utf8_lossy(&output.stderr), output.status.success())
}

/// What the timeline says before and from the change on, and its last line.
fn played(name: &str) -> (String, String, String) {
    let (text, success) = run(&[name]);
    assert!(success, "{text}");
    let timeline = text.split("  week of").next().unwrap();
    let (before, after) = timeline.split_once("THE WORLD CHANGES").expect("it does");
    let last = text.trim_end().lines().last().unwrap().to_owned();
    (before.to_owned(), after.to_owned(), last)
}

/// The number that follows a phrase.
fn number_after(text: &str, phrase: &str) -> f64 {
    let (_, rest) = text.split_once(phrase).unwrap_or_else(|| panic!("{phrase}: {text}"));
    let number: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || "-.".contains(*c)).collect();
    number.parse().unwrap_or_else(|_| panic!("{phrase}: {text}"))
}

#[test]
fn a_change_of_currency_is_noticed_and_ends_with_a_new_champion() {
    let (before, after, last) = played("cards");
    assert!(!before.contains("Firing") && !before.contains("planned"), "{before}");
    assert!(after.contains("Firing amount-drift"), "{after}");
    assert!(after.contains("planned retrain 1"), "{after}");
    assert!(after.contains("in shadow until"), "{after}");
    assert!(after.contains("promoted cards@") && after.contains("rebased on"), "{after}");
    assert!((1.0..4.0).contains(&number_after(&last, "first alert ")), "{last}");
    assert!(number_after(&last, "cost ") > 5.0, "{last}");
}

#[test]
fn a_neighbour_joining_the_market_is_noticed_and_ends_with_a_new_champion() {
    let (before, after, last) = played("electricity");
    assert!(!before.contains("Firing") && !before.contains("planned"), "{before}");
    assert!(after.contains("Firing vicprice-drift"), "{after}");
    assert!(after.contains("promoted electricity@"), "{after}");
    assert_eq!(number_after(&last, "first alert "), 1.0, "{last}");
    assert!(number_after(&last, "cost ") > 5.0, "{last}");
}

#[test]
fn a_wrong_command_line_or_file_is_one_line_and_exit_code_1() {
    for args in [&["colour"][..], &["cards", "--data", "no/such/file.csv"]] {
        let (text, success) = run(args);
        assert!(!success && text.starts_with("error: ") && text.lines().count() == 1, "{text}");
    }
}
