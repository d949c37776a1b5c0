//! What is said of a version: registering it, documenting it, redefining a draft.

use std::collections::BTreeSet;

use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::feature::store::commit::Step;
use crate::feature::store::guard::{self, refused};
use crate::feature::store::metadata::check_id;
use crate::feature::store::{
    FeatureDocumentation, FeatureMetadata, FeatureOperation, FeatureProfile, FeatureRef,
    FeatureSemantics, FeatureStatus, FeatureStore,
};

impl FeatureStore {
    /// Adds version 1 of a new feature, as a draft.
    ///
    /// # Errors
    /// `Conflict` if the id is taken; `InvalidInput` for an id, name or description that cannot be; `Refused` without
    /// an actor or a reason, or for dependencies that are not there.
    pub fn register(
        &self,
        id: &str,
        documentation: FeatureDocumentation,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        check_id(id)?;
        documentation.check()?;
        semantics.check()?;
        let feature = FeatureRef::new(id, 1);
        let action = format!("register {feature}");
        signature.check(&action)?;
        self.commit_one(signature, || {
            if self.find(&feature)?.is_some() {
                let reason = "exists already; make a new version of it".into();
                return Err(Error::Conflict { kind: "feature", id: id.to_owned(), reason });
            }
            self.check_dependencies(&action, &feature, &semantics, None)?;
            Ok(draft(feature.clone(), documentation.clone(), semantics.clone(), signature))
        })
    }

    /// Adds the next version of a feature as a draft, with the documentation of the version given. That may be any that
    /// is past review, archived ones included.
    ///
    /// # Errors
    /// As for every change; `Refused` for a draft or a version in review, which are not finished.
    pub fn new_version(
        &self,
        feature: &FeatureRef,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Archived, Deprecated};
        semantics.check()?;
        let action = format!("make a new version of {feature}");
        signature.check(&action)?;
        self.commit_one(signature, || {
            let record = self.storage.get(feature)?;
            guard::check_status(&action, &record, &[Approved, Deprecated, Archived])?;
            let versions = self.versions(&feature.id)?;
            let last = versions.last().map_or(feature.version, |last| last.feature.version);
            let next = FeatureRef { id: feature.id.clone(), version: last + 1 };
            self.check_dependencies(&action, &next, &semantics, None)?;
            Ok(draft(next, record.documentation, semantics.clone(), signature))
        })
    }

    /// Replaces the documentation, in any status. The log keeps the former one.
    ///
    /// # Errors
    /// As for every change; `InvalidInput` for a blank name or description or a blank tag; `Refused` for a blank field
    /// that review would not let pass, unless the feature is a draft.
    pub fn document(
        &self,
        feature: &FeatureRef,
        revision: u64,
        documentation: FeatureDocumentation,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        documentation.check()?;
        self.change("document", feature, revision, signature, |action, record| {
            let before = std::mem::replace(&mut record.documentation, documentation.clone());
            if record.status != FeatureStatus::Draft {
                guard::check_complete(action, record)?;
            }
            Ok(FeatureOperation::Documented { before: Box::new(before) })
        })
    }

    /// Replaces the semantics of a draft. The actor becomes one of its authors; its profile and its parity are dropped.
    ///
    /// # Errors
    /// As for every change; `Refused` in any other status, or for dependencies that are not there or depend on it.
    pub fn redefine(
        &self,
        feature: &FeatureRef,
        revision: u64,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        semantics.check()?;
        self.change("redefine", feature, revision, signature, |action, record| {
            if record.status != FeatureStatus::Draft {
                let hint = match record.status {
                    FeatureStatus::Review => "ask for changes first",
                    _ => "make a new version",
                };
                let reason =
                    format!("it is {}, and only a draft's semantics change; {hint}", record.status);
                return refused(action, reason);
            }
            self.check_dependencies(action, feature, &semantics, None)?;
            record.semantics = semantics.clone();
            record.authors.insert(signature.actor.to_owned());
            (record.profile, record.parity) = (None, None);
            Ok(FeatureOperation::Redefined)
        })
    }

    /// Attaches statistics of the feature's values, in place of earlier ones.
    ///
    /// # Errors
    /// As for every change; `Empty` for a profile of no value; `InvalidInput` for one whose kind does not fit the
    /// feature's type, or with a number that is not finite; `Refused` for an archived feature.
    pub fn attach_profile(
        &self,
        feature: &FeatureRef,
        revision: u64,
        profile: FeatureProfile,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Deprecated, Draft, Review};
        self.change("attach a profile to", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Draft, Review, Approved, Deprecated])?;
            profile.check(record.semantics.feature_type)?;
            record.profile = Some(profile.clone());
            Ok(FeatureOperation::Profiled)
        })
    }
}

/// A new version as a draft; committing gives it its first revision and its times.
fn draft(
    feature: FeatureRef,
    documentation: FeatureDocumentation,
    semantics: FeatureSemantics,
    signature: Signature<'_>,
) -> Step {
    let record = FeatureMetadata {
        feature,
        revision: 0,
        status: FeatureStatus::Draft,
        created: signature.at,
        updated: signature.at,
        authors: [signature.actor.to_owned()].into(),
        documentation,
        semantics,
        profile: None,
        parity: None,
        replacement: None,
        used_by: BTreeSet::new(),
    };
    Step { from: None, record, operation: FeatureOperation::Registered }
}
