//! Distances between two distributions on the same bins.
//!
//! Each takes counts (or shares) in the same order, in any unit, and divides by their sum. `None` if the lengths differ, a
//! number is negative or not finite, or either side is empty. All are symmetric, 0 for equal distributions, and O(bins).

/// Jensen–Shannon distance to base 2, `0.0..=1.0`: √(½ KL(p‖m) + ½ KL(q‖m)) with m halfway between (Lin 1991). scipy and
/// evidently take the natural logarithm by default, which makes it smaller by √ln 2 = 0.8326; NannyML base 2 as here.
pub fn jensen_shannon(a: &[f64], b: &[f64]) -> Option<f64> {
    let half = |p: f64, q: f64| if p > 0.0 { p * (2.0 * p / (p + q)).log2() } else { 0.0 };
    let divergence: f64 = shares(a, b)?.map(|(p, q)| half(p, q) + half(q, p)).sum::<f64>() / 2.0;
    Some(divergence.clamp(0.0, 1.0).sqrt())
}

/// Hellinger distance, `0.0..=1.0`: √(½ Σ (√p − √q)²).
pub fn hellinger(a: &[f64], b: &[f64]) -> Option<f64> {
    let sum: f64 = shares(a, b)?.map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
    Some((sum / 2.0).min(1.0).sqrt())
}

/// Kolmogorov–Smirnov distance of ordered bins, `0.0..=1.0`: the largest difference of the cumulated shares. At most the
/// largest bin's share below the distance of the unbinned values.
pub fn ks_distance(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut apart, mut largest) = (0.0f64, 0.0f64);
    shares(a, b)?.for_each(|(p, q)| {
        apart += p - q;
        largest = largest.max(apart.abs());
    });
    Some(largest.min(1.0))
}

/// Wasserstein (earth mover's) distance of ordered bins that stand at rising `positions`, in their unit: Σ |F_p − F_q| Δ. `None`
/// also unless there is one finite position per bin and they rise.
pub fn wasserstein_binned(a: &[f64], b: &[f64], positions: &[f64]) -> Option<f64> {
    let finite = positions.iter().all(|position| position.is_finite());
    if positions.len() != a.len() || !finite || positions.windows(2).any(|w| w[0] > w[1]) {
        return None;
    }
    let gaps = positions.windows(2).map(|w| w[1] - w[0]);
    let mut apart = 0.0;
    let work = shares(a, b)?.zip(gaps).map(|((p, q), gap)| {
        apart += p - q;
        f64::abs(apart) * gap
    });
    Some(work.sum())
}

/// Wasserstein (earth mover's) distance between two samples, in their unit, exactly: ∫ |F − G|. `None` for an empty sample or
/// a value that is not finite. O(n log n + m log m).
pub fn wasserstein(a: &[f64], b: &[f64]) -> Option<f64> {
    let sorted = |values: &[f64]| {
        let sound = !values.is_empty() && values.iter().all(|v| v.is_finite());
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        sound.then_some(values)
    };
    let (a, b) = (sorted(a)?, sorted(b)?);
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    let mut last = a[0].min(b[0]);
    while i < a.len() || j < b.len() {
        let next = |values: &[f64], at: usize| values.get(at).copied().unwrap_or(f64::INFINITY);
        let value = next(&a, i).min(next(&b, j));
        let apart = i as f64 / a.len() as f64 - j as f64 / b.len() as f64;
        sum += apart.abs() * (value - last);
        last = value;
        while i < a.len() && a[i] <= value {
            i += 1;
        }
        while j < b.len() && b[j] <= value {
            j += 1;
        }
    }
    Some(sum)
}

fn shares<'a>(a: &'a [f64], b: &'a [f64]) -> Option<impl Iterator<Item = (f64, f64)> + 'a> {
    let total = |values: &[f64]| values.iter().sum::<f64>();
    let sound = |values: &[f64]| values.iter().all(|v| *v >= 0.0 && v.is_finite());
    let (n, m) = (total(a), total(b));
    let usable = a.len() == b.len() && sound(a) && sound(b);
    let usable = usable && n > 0.0 && m > 0.0 && n.is_finite() && m.is_finite();
    usable.then(|| a.iter().zip(b).map(move |(p, q)| (p / n, q / m)))
}
