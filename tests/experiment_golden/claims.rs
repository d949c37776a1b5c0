//! Golden files as values that remember who has looked at them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

use riskcycle::stats::Interval;
use serde_json::Value;

/// A golden file. Every number of it must be asked for by a check, or declined with a reason.
pub(crate) struct Golden {
    root: Value,
    claimed: RefCell<BTreeSet<String>>,
}

impl Golden {
    pub(crate) fn new(text: &str) -> Self {
        Golden { root: serde_json::from_str(text).unwrap(), claimed: RefCell::default() }
    }

    pub(crate) fn section(&self, name: &str) -> Node<'_> {
        Node { golden: self, value: &self.root, path: String::new() }.get(name)
    }

    /// Fails on a leaf that nobody has asked for and that does not lie below a declined path, and on a declined path that
    /// is not needed. Paths name keys; positions in lists are left out.
    pub(crate) fn finish(self, declined: &[(&str, &str)]) {
        let mut leaves = Vec::new();
        collect(&self.root, String::new(), &mut leaves);
        let claimed = self.claimed.into_inner();
        let mut needed = BTreeSet::new();
        for leaf in leaves.iter().filter(|leaf| !claimed.contains(*leaf)) {
            let path = leaf.split('/').filter(|part| !part.starts_with('#'));
            let path: String = path.collect::<Vec<_>>().join("/");
            let below = |of: &str| path == of || path.starts_with(&format!("{of}/"));
            let reason = declined.iter().find(|(of, _)| below(of));
            needed.insert(reason.unwrap_or_else(|| panic!("no check claims {leaf}")).0);
        }
        for (path, reason) in declined {
            assert!(
                needed.contains(path),
                "{path} is declined ({reason}), but is not there or claimed"
            );
        }
    }
}

fn collect(value: &Value, path: String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| collect(value, format!("{path}/{key}"), leaves))
        }
        Value::Array(values) if !values.is_empty() => (values.iter().enumerate())
            .for_each(|(i, value)| collect(value, format!("{path}/#{i}"), leaves)),
        _ => leaves.push(path),
    }
}

/// A part of a golden file.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    golden: &'a Golden,
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    pub(crate) fn get(&self, key: &str) -> Node<'a> {
        self.find(key).unwrap_or_else(|| panic!("{} has no {key}", self.path))
    }

    /// `None` where it is not there or null.
    pub(crate) fn find(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key)?;
        let node = Node { golden: self.golden, value, path: format!("{}/{key}", self.path) };
        if value.is_null() {
            node.claim();
            return None;
        }
        Some(node)
    }

    pub(crate) fn rows(&self) -> Vec<Node<'a>> {
        let values = self.value.as_array().unwrap_or_else(|| panic!("{} is no list", self.path));
        let node =
            |(i, value)| Node { golden: self.golden, value, path: format!("{}/#{i}", self.path) };
        values.iter().enumerate().map(node).collect()
    }

    pub(crate) fn fields(&self) -> Vec<(String, Node<'a>)> {
        let fields = self.value.as_object().unwrap_or_else(|| panic!("{} is no object", self.path));
        fields.keys().map(|key| (key.clone(), self.get(key))).collect()
    }

    fn claim(&self) {
        self.golden.claimed.borrow_mut().insert(self.path.clone());
    }

    pub(crate) fn number(&self) -> f64 {
        self.claim();
        self.value.as_f64().unwrap_or_else(|| panic!("{} is no number", self.path))
    }

    pub(crate) fn at(&self, key: &str) -> f64 {
        self.get(key).number()
    }

    pub(crate) fn numbers(&self) -> Vec<f64> {
        self.rows().iter().map(Node::number).collect()
    }

    pub(crate) fn count(&self, key: &str) -> u64 {
        let node = self.get(key);
        node.claim();
        node.value.as_u64().unwrap_or_else(|| panic!("{} is no count", node.path))
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.numbers().iter().map(|x| *x as u64).collect()
    }

    pub(crate) fn flags(&self) -> Vec<bool> {
        self.numbers().iter().map(|x| *x == 1.0).collect()
    }

    pub(crate) fn text(&self) -> &'a str {
        self.claim();
        self.value.as_str().unwrap_or_else(|| panic!("{} is no text", self.path))
    }

    /// Equal to `tolerance`, relative above 1 and absolute below.
    #[track_caller]
    pub(crate) fn is(&self, got: f64, tolerance: f64) {
        let expected = self.number();
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "{}: {got} instead of {expected}: {error:e}", self.path);
    }

    /// Equal in relative terms, however small.
    #[track_caller]
    pub(crate) fn has_digits(&self, got: f64, tolerance: f64) {
        let expected = self.number();
        let error = (got / expected - 1.0).abs();
        assert!(error <= tolerance, "{}: {got} instead of {expected}: {error:e}", self.path);
    }

    /// Both ends of an interval.
    #[track_caller]
    pub(crate) fn holds(&self, got: Interval, tolerance: f64) {
        let rows = self.rows();
        rows[0].is(got.lower, tolerance);
        rows[1].is(got.upper, tolerance);
    }

    #[track_caller]
    pub(crate) fn are<T: PartialEq + Debug>(&self, got: &[T], of: fn(f64) -> T) {
        let expected: Vec<T> = self.numbers().into_iter().map(of).collect();
        assert_eq!(got, expected, "{}", self.path);
    }
}
