//! Whether golden numbers are looked at: each of them is changed, and a comparison must notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

/// Long lists are changed at so many places only.
const PLACES: usize = 6;

/// Changes every number, word and truth value of a golden file in turn; `compare` must panic at each, but for those under the
/// `excused` pointers, which stand with the reason why nothing of ours is compared with them.
pub(crate) fn every_value_is_compared(
    golden: &Value,
    excused: &[(&str, &str)],
    compare: impl Fn(&Value),
) {
    compare(golden);
    for (pointer, reason) in excused {
        assert!(golden.pointer(pointer).is_some(), "{pointer} is gone, though: {reason}");
    }
    let mut leaves = Vec::new();
    walk(golden, String::new(), &mut leaves);
    let is_excused = |leaf: &str| {
        excused.iter().any(|(pointer, _)| {
            leaf.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut unnoticed = Vec::new();
    for leaf in leaves.into_iter().filter(|leaf| !is_excused(leaf)) {
        let mut changed = golden.clone();
        let value = changed.pointer_mut(&leaf).expect("it was found by walking");
        *value = other_than(value);
        if catch_unwind(AssertUnwindSafe(|| compare(&changed))).is_ok() {
            unnoticed.push(leaf);
        }
    }
    assert!(unnoticed.is_empty(), "values that nothing is compared with: {unnoticed:#?}");
}

fn walk(value: &Value, at: String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                walk(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), leaves);
            }
        }
        Value::Array(list) => {
            let step = list.len().div_ceil(PLACES).max(1);
            for (i, value) in list.iter().enumerate().step_by(step) {
                walk(value, format!("{at}/{i}"), leaves);
            }
        }
        Value::Null => {}
        _ => leaves.push(at),
    }
}

fn other_than(value: &Value) -> Value {
    match value {
        Value::Bool(holds) => Value::Bool(!holds),
        Value::String(text) => Value::String(format!("not {text}")),
        Value::Number(number) if number.is_u64() => (number.as_u64().unwrap_or(0) + 1).into(),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            serde_json::json!(number + 0.01 * number.abs().max(1.0))
        }
        other => other.clone(),
    }
}
