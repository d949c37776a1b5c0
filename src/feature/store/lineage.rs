//! What a feature rests on, and what rests on it.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::feature::store::{FeatureQuery, FeatureRef, FeatureStore, FeatureUser};

/// All that a change of a feature reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureDependants {
    /// Features computed from it, directly or by way of others, archived ones included.
    pub features: BTreeSet<FeatureRef>,
    /// Feature sets and model versions that use it or any of those.
    pub users: BTreeSet<FeatureUser>,
}

impl FeatureStore {
    /// All features that this one is computed from, directly or by way of others. One call to the storage for each.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature.
    pub fn dependencies(&self, feature: &FeatureRef) -> Result<BTreeSet<FeatureRef>> {
        self.closure(&self.storage.get(feature)?.semantics.dependencies)
    }

    /// All that depends on a feature. At least one call to the storage for each feature found.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature.
    pub fn dependants(&self, feature: &FeatureRef) -> Result<FeatureDependants> {
        let users = self.storage.get(feature)?.used_by;
        let mut found = FeatureDependants { features: BTreeSet::new(), users };
        let mut open = vec![feature.clone()];
        while let Some(next) = open.pop() {
            let query = FeatureQuery { depends_on: Some(next), ..FeatureQuery::default() };
            self.read_all(query, |record| {
                if found.features.insert(record.feature.clone()) {
                    found.users.extend(record.used_by);
                    open.push(record.feature);
                }
            })?;
        }
        Ok(found)
    }

    /// These features and all that they are computed from.
    pub(super) fn closure(&self, start: &BTreeSet<FeatureRef>) -> Result<BTreeSet<FeatureRef>> {
        let mut found = start.clone();
        let mut open: Vec<FeatureRef> = start.iter().cloned().collect();
        while let Some(next) = open.pop() {
            for dependency in self.storage.get(&next)?.semantics.dependencies {
                if found.insert(dependency.clone()) {
                    open.push(dependency);
                }
            }
        }
        Ok(found)
    }
}
