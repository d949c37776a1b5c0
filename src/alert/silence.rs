//! Who must not hear of what: matchers, silences, hours of rest, and alerts that make others superfluous.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Labels of an alert: `rule`, `metric`, `severity`, where known `model`, `version` and `segment`, and the rule's own.
pub type Labels = BTreeMap<String, String>;

/// Picks alerts by labels: all the given ones must be equal. A label given as empty text must be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Matcher(pub Labels);

impl Matcher {
    /// Matches alerts with these labels.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Matcher(labels.into_iter().map(own).collect())
    }

    /// Whether it picks an alert with these labels. One without labels picks every alert.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = |name: &String| labels.get(name).map_or("", String::as_str);
        self.0.iter().all(|(name, wanted)| value(name) == wanted)
    }
}

/// Keeps alerts from being told of for a while. They keep their state and their history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Unique id, to end it early by.
    pub id: String,
    /// Which alerts. It must name at least one label.
    pub matcher: Matcher,
    /// From then on.
    pub from: Timestamp,
    /// Up to then, exclusive.
    pub until: Timestamp,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    pub(super) fn check(&self) -> Result<()> {
        let told =
            [&self.id, &self.author, &self.comment].iter().all(|text| !text.trim().is_empty());
        if !told || self.matcher.0.is_empty() || self.from >= self.until {
            let reason = "needs an id, an author, a comment, at least one label, and from < until";
            return Err(Error::config("silence", reason));
        }
        Ok(())
    }

    pub(super) fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.from <= now && now < self.until && self.matcher.matches(labels)
    }
}

/// Hours of the week at which alerts are not told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuteWindow {
    /// Which alerts.
    pub matcher: Matcher,
    /// Days of the week, Monday 0 to Sunday 6.
    pub weekdays: Vec<u8>,
    /// From this time of the day on.
    pub from: Duration,
    /// Up to this time of the day, exclusive; at or before `from` it lies in the next day.
    pub until: Duration,
    /// Fixed offset from UTC in seconds, east positive.
    pub utc_offset_seconds: i32,
}

const DAY: Duration = Duration::from_secs(86_400);

impl MuteWindow {
    pub(super) fn check(&self) -> Result<()> {
        let sound =
            self.from < DAY && self.until <= DAY && self.weekdays.iter().all(|day| *day < 7);
        if !sound || self.utc_offset_seconds.unsigned_abs() > 86_400 {
            let reason = "needs weekdays 0 to 6, times within a day, an offset within a day";
            return Err(Error::config("mute window", reason));
        }
        Ok(())
    }

    pub(super) fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        let weekday = now.weekday(self.utc_offset_seconds);
        let offset = i64::from(self.utc_offset_seconds) * 1_000_000;
        let time = now.micros().saturating_add(offset).rem_euclid(86_400_000_000) as u64;
        let time = Duration::from_micros(time);
        let within = if self.from < self.until {
            self.weekdays.contains(&weekday) && self.from <= time && time < self.until
        } else {
            let yesterday = (weekday + 6) % 7;
            self.weekdays.contains(&weekday) && self.from <= time
                || self.weekdays.contains(&yesterday) && time < self.until
        };
        within && self.matcher.matches(labels)
    }
}

/// While a source fires, targets with the same values of some labels are not told of: no traffic makes an error rate
/// superfluous. An alert that is source and target at once is not muted by another one that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibition {
    /// What makes the others superfluous.
    pub source: Matcher,
    /// What becomes superfluous.
    pub target: Matcher,
    /// Labels that both must have, with the same value.
    pub equal: Vec<String>,
}

impl Inhibition {
    pub(super) fn mutes(&self, target: &Labels, firing: &[&Labels]) -> bool {
        if !self.target.matches(target) {
            return false;
        }
        let both = self.source.matches(target);
        let same = |source: &Labels| {
            self.equal
                .iter()
                .all(|name| source.contains_key(name) && source.get(name) == target.get(name))
        };
        firing.iter().any(|source| {
            let other = *source != target;
            let source_is_target_too = self.target.matches(source);
            other && self.source.matches(source) && same(source) && !(both && source_is_target_too)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mute_windows_run_over_midnight() {
        let night = MuteWindow {
            matcher: Matcher::default(),
            weekdays: vec![4], // Friday
            from: Duration::from_secs(22 * 3600),
            until: Duration::from_secs(6 * 3600),
            utc_offset_seconds: 3600,
        };
        night.check().unwrap();
        let friday = Timestamp::from_date(2024, 1, 5);
        let mutes = |hours: u64| {
            night.mutes(&Labels::new(), friday.plus(Duration::from_secs(hours * 3600)))
        };
        // Local time is an hour ahead.
        assert_eq!([20, 21, 28, 29].map(mutes), [false, true, true, false]);
        assert!(!mutes(48 + 21));
    }

    #[test]
    fn a_source_mutes_targets_of_its_own_model_only_and_never_itself() {
        let labels = |rule: &str, model: &str| -> Labels {
            Matcher::new([("rule", rule), ("model", model)]).0
        };
        let rule = Inhibition {
            source: Matcher::new([("rule", "no-traffic")]),
            target: Matcher::default(),
            equal: vec!["model".into()],
        };
        let (source, other) = (labels("no-traffic", "a"), labels("no-traffic", "b"));
        let firing = [&source, &other];
        assert!(rule.mutes(&labels("errors", "a"), &firing));
        assert!(!rule.mutes(&labels("errors", "c"), &firing));
        assert!(!rule.mutes(&source, &firing), "source and target at once");
        let no_model = Matcher::new([("rule", "errors")]).0;
        assert!(!rule.mutes(&no_model, &firing), "absent is not equal to absent");
    }
}
