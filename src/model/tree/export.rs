//! An ensemble in the words of others: JSON, Graphviz, SQL.

use std::fmt::Write;

use crate::model::Model;
use crate::model::tree::ensemble::{Combine, Link, TreeEnsemble};
use crate::model::tree::node::{Band, Question, Split, Tree};

impl TreeEnsemble {
    /// The trees as JSON: `{"features": [...], "output": {...}, "trees": [[node, ...], ...]}`, where a node is
    /// `{"value", "cover"}` and, unless it is a leaf, `{"feature", "at_most" or "one_of", "missing", "left", "right", "gain"}`
    /// with the children as positions, and with `"also_missing": [low, high]` where numbers count as missing. Numbers have as many digits as it takes to read them back exactly; an infinite
    /// threshold is the text `"inf"` or `"-inf"`. O(nodes).
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"features\":[");
        join(&mut json, self.schema().names(), |json, name| quote(json, name));
        let output = self.output();
        let (link, slope) = match output.link {
            Link::Identity => ("identity", 1.0),
            Link::Logistic { slope } => ("logistic", slope),
            Link::Exponential => ("exponential", 1.0),
        };
        let combine = if output.combine == Combine::Mean { "mean" } else { "sum" };
        put(
            &mut json,
            format_args!(
                "],\"output\":{{\"base\":{},\"combine\":\"{combine}\",\"link\":\"{link}\",\"slope\":{slope}}},\"trees\":[",
                output.base
            ),
        );
        join(&mut json, self.trees(), |json, tree| {
            json.push('[');
            join(json, tree.nodes(), |json, node| {
                put(json, format_args!("{{\"value\":{},\"cover\":{}", node.value, node.cover));
                if let Some(split) = &node.split {
                    let Split { feature, left, right, .. } = &**split;
                    put(json, format_args!(",\"feature\":{feature},"));
                    match &split.question {
                        Question::AtMost(threshold) if threshold.is_finite() => {
                            put(json, format_args!("\"at_most\":{threshold}"));
                        }
                        Question::AtMost(threshold) => {
                            put(json, format_args!("\"at_most\":\"{threshold}\""));
                        }
                        Question::OneOf(set) => {
                            put(json, format_args!("\"one_of\":{:?}", set.codes()));
                        }
                    }
                    let side = if split.missing_left { "left" } else { "right" };
                    if let Some(Band { low, high }) = split.also_missing {
                        put(json, format_args!(",\"also_missing\":[{low},{high}]"));
                    }
                    put(
                        json,
                        format_args!(
                            ",\"missing\":\"{side}\",\"left\":{left},\"right\":{right},\"gain\":{}",
                            node.gain
                        ),
                    );
                }
                json.push('}');
            });
            json.push(']');
        });
        json.push_str("]}");
        json
    }

    /// One tree as a Graphviz graph; `None` if there is no such tree. O(nodes).
    pub fn to_dot(&self, tree: usize) -> Option<String> {
        let tree = self.trees().get(tree)?;
        let mut dot = String::from("digraph tree {\n  node [shape=box];\n");
        for (i, node) in tree.nodes().iter().enumerate() {
            put(&mut dot, format_args!("  {i} [label="));
            let label = match &node.split {
                None => format!("{:.6}\n{} rows", node.value, node.cover),
                Some(split) => format!("{}\n{} rows", self.ask(split), node.cover),
            };
            quote(&mut dot, &label);
            dot.push_str("];\n");
            if let Some(split) = &node.split {
                let (yes, no) = if split.missing_left {
                    ("yes or missing", "no")
                } else {
                    ("yes", "no or missing")
                };
                put(&mut dot, format_args!("  {i} -> {} [label=\"{yes}\"];\n", split.left));
                put(&mut dot, format_args!("  {i} -> {} [label=\"{no}\"];\n", split.right));
            }
        }
        dot.push_str("}\n");
        Some(dot)
    }

    /// The score as one SQL expression over columns with the features' names: nested `CASE`s, one per tree, added up and
    /// put through the link. NULL is missing; categories are their codes. Standard SQL but for `EXP`, and written to be
    /// computed in doubles. A column must not hold NaN or infinities, which databases treat each in their own way. The
    /// expression is as long as the model is large. O(nodes).
    pub fn to_sql(&self) -> String {
        let mut sum = String::new();
        for tree in self.trees() {
            if !sum.is_empty() {
                sum.push_str("\n+ ");
            }
            self.tree_sql(tree, &mut sum);
        }
        if sum.is_empty() {
            sum.push_str("0e0");
        }
        let output = self.output();
        let margin = match output.combine {
            Combine::Sum => format!("{:e} + {sum}", output.base),
            Combine::Mean => {
                format!("{:e} + ({sum}) / {:e}", output.base, self.trees().len().max(1) as f64)
            }
        };
        match output.link {
            Link::Identity => margin,
            Link::Logistic { slope } => format!("1e0 / (1e0 + EXP({:e} * ({margin})))", -slope),
            Link::Exponential => format!("EXP({margin})"),
        }
    }

    fn tree_sql(&self, tree: &Tree, sql: &mut String) {
        // What is still to be written, the next on top: nodes, and the words between them.
        enum Part {
            Node(u32),
            Text(&'static str),
        }
        let mut parts = vec![Part::Node(0)];
        while let Some(part) = parts.pop() {
            let i = match part {
                Part::Text(text) => {
                    sql.push_str(text);
                    continue;
                }
                Part::Node(i) => i,
            };
            let node = &tree.nodes()[i as usize];
            let Some(split) = &node.split else {
                put(sql, format_args!("{:e}", node.value));
                continue;
            };
            let column = self.schema().names()[split.feature as usize].replace('"', "\"\"");
            let column = format!("\"{column}\"");
            let yes = match &split.question {
                Question::AtMost(t) if *t == f64::INFINITY => format!("{column} IS NOT NULL"),
                Question::AtMost(t) if *t == f64::NEG_INFINITY => "1 = 0".to_owned(),
                Question::AtMost(threshold) => format!("{column} <= {threshold:e}"),
                Question::OneOf(set) if set.codes().is_empty() => "1 = 0".to_owned(),
                Question::OneOf(set) => {
                    let codes: Vec<String> = set.codes().iter().map(u32::to_string).collect();
                    format!("{column} IN ({})", codes.join(", "))
                }
            };
            let missing = match split.also_missing {
                Some(Band { low, high }) => {
                    format!("({column} IS NULL OR {column} BETWEEN {low:e} AND {high:e})")
                }
                None => format!("{column} IS NULL"),
            };
            // NULL answers no comparison, so it goes with "else" unless it is named.
            let condition = match (split.missing_left, split.also_missing) {
                (true, _) => format!("{missing} OR {yes}"),
                (false, Some(_)) => format!("NOT {missing} AND {yes}"),
                (false, None) => yes,
            };
            put(sql, format_args!("CASE WHEN {condition} THEN "));
            parts.extend([
                Part::Text(" END"),
                Part::Node(split.right),
                Part::Text(" ELSE "),
                Part::Node(split.left),
            ]);
        }
    }

    fn ask(&self, split: &Split) -> String {
        let name = &self.schema().names()[split.feature as usize];
        match &split.question {
            Question::AtMost(threshold) => format!("{name} <= {threshold}"),
            Question::OneOf(set) => format!("{name} in {:?}", set.codes()),
        }
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes whatever is written into it");
}

fn join<T>(text: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        write(text, item);
    }
}

/// As a JSON string, which Graphviz reads as well.
fn quote(text: &mut String, content: &str) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => put(text, format_args!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}
