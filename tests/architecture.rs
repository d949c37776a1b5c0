//! The shape of the source tree: a module uses only what stands above it in `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_module_uses_only_modules_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = modules_in_order(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(order.len() > 15, "lib.rs no longer lists the walk: {order:?}");
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        seen.push(module.to_owned());
        let found = violations(&order, module, &fs::read_to_string(&file).unwrap());
        wrong.extend(found.into_iter().map(|used| format!("{} uses {used}", inside.display())));
    }
    assert!(wrong.is_empty(), "modules that use one below them:\n{}", wrong.join("\n"));
    assert!(order.iter().all(|module| seen.contains(module)), "{order:?}");
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let order = ["error", "feature", "serve"].map(String::from);
    let uses = |text: &str| violations(&order, "feature", text);
    assert_eq!(uses("use crate::serve::Prediction;"), ["serve"]);
    assert_eq!(uses("use crate::{error::Error, serve::{Decision, Prediction}};"), ["serve"]);
    assert_eq!(uses("use crate::{\n    error::{Error, Result},\n    serve,\n};"), ["serve"]);
    assert_eq!(uses("fn f() -> crate::serve::Prediction {}"), ["serve"]);
    assert!(
        uses("/// [`serve`](crate::serve)\n// crate::serve\nuse crate::error::Error;").is_empty()
    );
    assert!(uses("use crate::feature::plan;").is_empty());
}

/// Modules in the order in which `lib.rs` declares them.
fn modules_in_order(lib: &str) -> Vec<String> {
    let declared = lib.lines().filter_map(|line| {
        line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(String::from)
    });
    declared.collect()
}

/// Modules below `module` that its source text uses; comments may name any.
fn violations(order: &[String], module: &str, text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let position = |name: &str| order.iter().position(|other| other == name);
    let own = position(module).expect("lib.rs declares every module");
    let used = code.split("crate::").skip(1).flat_map(first_names);
    used.filter(|name| position(name).is_some_and(|other| other > own)).collect()
}

/// The names that a path behind `crate::` starts with: one, or those of a braced list.
fn first_names(path: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let mut depth = 1;
    let mut names = vec![identifier(list)];
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(identifier(&list[i + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
