//! Which parameters to try next.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use crate::train::tuning::space::{ParameterRange, ParameterSet, SearchSpace};

/// Candidates of which the most promising is tried.
const CANDIDATES: usize = 24;

/// Uniform over the space.
pub(super) fn random(space: &SearchSpace, rng: &mut ChaCha8Rng) -> ParameterSet {
    let values = space.ranges().iter().map(|(name, range)| (name.clone(), range.at(uniform(rng))));
    ParameterSet(values.collect())
}

/// The `i`-th point of the grid, the last parameter changing fastest; `None` past the end.
pub(super) fn grid(space: &SearchSpace, steps: usize, mut i: usize) -> Option<ParameterSet> {
    let mut set = ParameterSet::default();
    for (name, range) in space.ranges().iter().rev() {
        let mut values = range.grid(steps);
        let of = i % values.len();
        i /= values.len();
        set.0.insert(name.clone(), values.swap_remove(of));
    }
    (i == 0).then_some(set)
}

/// The tree-structured Parzen estimator (Bergstra et al. 2011), parameter by parameter: of some candidates near the better
/// trials, the one that is likeliest to be one of them rather than of the worse. `ranked` has the best first.
pub(super) fn parzen(
    space: &SearchSpace,
    ranked: &[&ParameterSet],
    rng: &mut ChaCha8Rng,
) -> ParameterSet {
    let n_good = ranked.len().div_ceil(4).min(25);
    let mut set = ParameterSet::default();
    for (name, range) in space.ranges() {
        let places: Vec<f64> =
            ranked.iter().filter_map(|trial| Some(range.place(trial.0.get(name)?))).collect();
        let (good, bad) = places.split_at(n_good.min(places.len()));
        let place = match range {
            ParameterRange::Choice(choices) => choose(choices.len(), good, bad, rng),
            _ => {
                let (good, bad) = (Mixture::new(good), Mixture::new(bad));
                let candidates = (0..CANDIDATES).map(|_| good.draw(rng)).collect::<Vec<f64>>();
                let ratio = |place: f64| good.density(place) / bad.density(place);
                let best = candidates
                    .into_iter()
                    .map(|place| (place, ratio(place)))
                    .reduce(|best, other| if other.1 > best.1 { other } else { best });
                best.map_or(0.5, |(place, _)| place)
            }
        };
        set.0.insert(name.clone(), range.at(place));
    }
    set
}

/// A choice drawn by how often the better trials made it, if it is likelier with them than with the worse.
fn choose(n: usize, good: &[f64], bad: &[f64], rng: &mut ChaCha8Rng) -> f64 {
    let counts = |places: &[f64]| {
        let mut counts = vec![1.0; n]; // one of each, so that no choice is ever ruled out
        places.iter().for_each(|place| counts[((place * n as f64) as usize).min(n - 1)] += 1.0);
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| count / total).collect::<Vec<f64>>()
    };
    let (of_good, of_bad) = (counts(good), counts(bad));
    let draw = |rng: &mut ChaCha8Rng| {
        let (mut left, mut i) = (uniform(rng), 0);
        while i + 1 < n && left >= of_good[i] {
            left -= of_good[i];
            i += 1;
        }
        i
    };
    let candidates: Vec<usize> = (0..CANDIDATES).map(|_| draw(rng)).collect();
    let ratio = |i: usize| of_good[i] / of_bad[i];
    let best =
        candidates.into_iter().reduce(|best, i| if ratio(i) > ratio(best) { i } else { best });
    (best.unwrap_or(0) as f64 + 0.5) / n as f64
}

/// Normal distributions around places, cut off at 0 and 1, and a uniform one.
struct Mixture {
    /// Centre and width.
    kernels: Vec<(f64, f64)>,
}

impl Mixture {
    fn new(places: &[f64]) -> Self {
        let mut sorted = places.to_vec();
        sorted.sort_by(f64::total_cmp);
        let narrowest = 1.0 / (sorted.len() as f64 + 1.0).min(100.0);
        let kernels = (0..sorted.len()).map(|i| {
            // As wide as the gap to the farther neighbour.
            let below = if i == 0 { 0.0 } else { sorted[i - 1] };
            let above = sorted.get(i + 1).copied().unwrap_or(1.0);
            let width = (sorted[i] - below).max(above - sorted[i]);
            (sorted[i], width.clamp(narrowest, 1.0))
        });
        Mixture { kernels: kernels.collect() }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        let i = (uniform(rng) * (self.kernels.len() + 1) as f64) as usize;
        let Some(&(centre, width)) = self.kernels.get(i) else {
            return uniform(rng);
        };
        for _ in 0..100 {
            // Box and Muller; 1 − u is never 0.
            let radius = (-2.0 * libm::log(1.0 - uniform(rng))).sqrt();
            let place = centre + width * radius * libm::cos(std::f64::consts::TAU * uniform(rng));
            if (0.0..=1.0).contains(&place) {
                return place;
            }
        }
        centre
    }

    fn density(&self, place: f64) -> f64 {
        let within = |z: f64| 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
        let of = |&(centre, width): &(f64, f64)| {
            let z = (place - centre) / width;
            let inside = within((1.0 - centre) / width) - within(-centre / width);
            libm::exp(-0.5 * z * z) / (width * (2.0 * std::f64::consts::PI).sqrt() * inside)
        };
        (1.0 + self.kernels.iter().map(of).sum::<f64>()) / (self.kernels.len() + 1) as f64
    }
}

/// From 0 to below 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
