//! The main job as a user runs it: the same report every time, and bad files end in one clear line and exit code 1.
#![cfg(feature = "linfa")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

fn run(args: &[&str], threads: &str) -> Output {
    // Examples lie beside the folder of test binaries; `cargo test` builds them, `cargo test --test` does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("lifecycle");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "build it first: cargo build --example lifecycle");
    let mut command = Command::new(example);
    command.args(args).env("RAYON_NUM_THREADS", threads).output().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The report without what may differ from run to run.
fn report(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("report.json")).unwrap();
    let (stable, timings) = text.split_once("\"timings\"").expect("timings come last");
    assert!(timings.contains("8 to 13 live"));
    Value::String(stable.to_owned())
}

#[test]
fn two_runs_on_one_and_two_threads_leave_the_same_report_byte_for_byte() {
    let [one, two] = ["1", "2"].map(|threads| {
        let out = folder(&format!("lifecycle-{threads}"));
        let output = run(&["--out", out.to_str().unwrap()], threads);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("488116 rows, 0 different"), "{text}");
        (report(&out), out)
    });
    assert_eq!(one.0, two.0);

    let text = fs::read_to_string(one.1.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let states = |rule: &str| -> Vec<String> {
        let alerts = report["alerts"].as_array().unwrap().iter();
        let alerts = alerts.filter(|a| a["rule"] == rule);
        alerts.map(|a| a["state"].as_str().unwrap().to_owned()).collect()
    };
    // Prices rise once: pending a day, firing until the challenger takes over.
    assert_eq!(states("amount-drift"), ["Pending", "Firing", "Resolved"]);
    // The first challenger saw nothing of the drift and stays out, the second is promoted.
    let promoted =
        |i: usize| report["live"]["retrains"][i]["outcome"]["verdict"]["promote"].clone();
    assert_eq!([promoted(0), promoted(1)], [Value::Bool(false), Value::Bool(true)]);
    assert_eq!(report["live"]["labels_late"], 0);
}

const HEADER: &str =
    "TRANSACTION_ID,TX_TIME_SECONDS,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO";

fn refused(name: &str, content: &[u8]) -> String {
    let path = folder("bad-files").join(name);
    fs::write(&path, content).unwrap();
    let output = run(&["--data", path.to_str().unwrap()], "1");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{name}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    let error = errors.lines().find(|line| line.starts_with("error: "));
    error.unwrap_or_else(|| panic!("{name}: {errors}")).to_owned()
}

fn refused_rows(name: &str, rows: &str) -> String {
    refused(name, format!("{HEADER}\n{rows}").as_bytes())
}

#[test]
fn a_bad_file_ends_in_one_line_that_names_row_and_column_and_exit_code_1() {
    let no_amount = HEADER.replace("TX_AMOUNT", "AMOUNT");
    let error = refused("column.csv", format!("{no_amount}\n0,31,1,1,5.0,0,0\n").as_bytes());
    assert!(error.contains("has no column TX_AMOUNT; it has: TRANSACTION_ID,"), "{error}");

    let error = refused_rows("amount.csv", "0,31,1,1,57.16,0,0\n1,32,1,1,a lot,1,1\n");
    assert!(error.contains(r#"row 2, column TX_AMOUNT: "a lot" is not an amount"#), "{error}");
    let error = refused_rows("nan.csv", "0,31,1,1,NaN,0,0\n");
    assert!(error.contains("row 1, column TX_AMOUNT"), "{error}");
    let error = refused_rows("label.csv", "0,31,1,1,5.0,2,0\n");
    assert!(error.contains(r#"row 1, column TX_FRAUD: "2" is not 0 or 1"#), "{error}");

    let error = refused_rows("time.csv", "0,31,1,1,5.0,0,0\n1,30,1,1,5.0,1,0\n");
    assert!(error.contains("row 2, column TX_TIME_SECONDS: time goes backwards"), "{error}");
    let error = refused_rows("id.csv", "7,31,1,1,5.0,0,0\n7,32,1,1,5.0,1,0\n");
    assert!(error.contains("row 2, column TRANSACTION_ID: 7 does not come after 7"), "{error}");
    let error = refused_rows("far.csv", "0,9223372036854775807,1,1,5.0,0,0\n");
    assert!(error.contains("out of range"), "{error}");
    let error = refused_rows("short.csv", "0,31,1,1,5.0,0,0\n1,32,1\n");
    assert!(error.contains("row 2") && error.contains("3 fields"), "{error}");

    assert!(refused_rows("empty.csv", "").contains("has no rows"));
    assert!(refused("nothing.csv", b"").contains("has no column TRANSACTION_ID"));
    let error = refused_rows("good.csv", "0,31,1,1,5.0,0,0\n1,32,1,1,5.0,0,0\n");
    assert!(error.contains("one class only: 2 rows, all labelled false"), "{error}");
    let error = refused_rows("early.csv", "0,31,1,1,5.0,0,0\n1,32,1,1,5.0,1,0\n");
    assert!(error.contains("training stretch") && error.contains("has no rows"), "{error}");
    let output = run(&["--data", "no/such/file.csv"], "1");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run(&["--colour", "red"], "1").status.code(), Some(1));
}

#[test]
fn a_truncated_gzip_is_an_error_that_names_the_row() {
    let rows: String =
        (0..20_000).map(|i| format!("{i},{i},{},7,{}.5,0,0\n", i % 97, i % 613)).collect();
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(format!("{HEADER}\n{rows}").as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    let error = refused("truncated.csv.gz", &gz[..gz.len() / 2]);
    assert!(error.contains("cannot read row"), "{error}");
    let whole = refused("whole.csv.gz", &gz);
    assert!(whole.contains("one class only"), "{whole}");
    // The checksum at the end is checked too.
    assert!(refused("tail.csv.gz", &gz[..gz.len() - 4]).contains("cannot read row"));
}
