//! Two versions side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ids::ModelRef;
use crate::registry::{Artifact, ModelVersion};

/// What differs between two versions. `Display` gives a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDiff {
    /// The one version.
    pub here: ModelRef,
    /// The other.
    pub there: ModelRef,
    /// What differs, as (what, here, there), by name; `-` for what is not there.
    pub differences: Vec<(String, String, String)>,
}

impl VersionDiff {
    pub(super) fn new(here: &(ModelVersion, Artifact), there: &(ModelVersion, Artifact)) -> Self {
        let (ours, theirs) = (facts(here), facts(there));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let value = |of: &BTreeMap<String, String>, name: &String| {
            of.get(name).cloned().unwrap_or_else(|| "-".to_owned())
        };
        let both = names.into_iter().map(|of| (of.clone(), value(&ours, of), value(&theirs, of)));
        let mut differences: Vec<_> = both.filter(|(_, ours, theirs)| ours != theirs).collect();
        let training = here.1.training.differences(&there.1.training);
        differences.extend(training.into_iter().map(|(of, a, b)| (format!("training {of}"), a, b)));
        let (here, there) = (here.0.model.clone(), there.0.model.clone());
        VersionDiff { here, there, differences }
    }
}

/// All that can be told of a version in a word each, its training apart.
fn facts((version, artifact): &(ModelVersion, Artifact)) -> BTreeMap<String, String> {
    let or_none = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or("-".into());
    let mut facts: BTreeMap<String, String> = [
        ("artifact", version.artifact.short()),
        ("author", version.author.clone()),
        (
            "bands",
            format!("review {} decline {}", artifact.bands.review(), artifact.bands.decline()),
        ),
        ("code", or_none(Some(version.code_version.clone()))),
        ("created", artifact.created.to_string()),
        ("kind", artifact.model.kind().to_owned()),
        ("parent", or_none(version.parent.as_ref().map(ModelRef::to_string))),
        ("rows", format!("{} ({} bad)", artifact.training.n_rows, artifact.training.n_bad)),
        ("slot", or_none(version.slot.clone())),
        ("stage", version.stage.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let schema = artifact.model.schema();
    for (place, (name, kind)) in schema.names().iter().zip(schema.kinds()).enumerate() {
        facts.insert(format!("feature {name}"), format!("column {place}, {}", kind.describe()));
    }
    for evidence in &version.evidence {
        for (name, value) in &evidence.metrics {
            facts.insert(format!("{:?} {name}", evidence.kind).to_lowercase(), value.to_string());
        }
    }
    for (tag, value) in &version.tags {
        facts.insert(format!("tag {tag}"), value.clone());
    }
    facts
}

impl fmt::Display for VersionDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = (String::new(), self.here.to_string(), self.there.to_string());
        let lines = || std::iter::once(&title).chain(&self.differences);
        let width = |part: fn(&(String, String, String)) -> &String| {
            lines().map(|line| part(line).chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(|line| &line.0), width(|line| &line.1));
        lines().try_for_each(|(what, here, there)| {
            writeln!(f, "{what:first$}  {here:second$}  {there}")
        })
    }
}
