//! How many different values: a list of hashes while there are few, HyperLogLog from then on.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::seed::stable_hash;

/// Most different values that are counted exactly.
const EXACT: usize = 512;

/// Bits of a hash that choose a register.
const PRECISION: u32 = 12;
const N_REGISTERS: usize = 1 << PRECISION;

/// Bits of a hash that are left; a register holds 0 to one more than that.
const REST: usize = 64 - PRECISION as usize;

/// The number of different values: exact up to 512, then estimated with a standard error of 1.04 / √4096, 1.6 %. 8 bytes a
/// value at first, then 4 KiB.
///
/// HyperLogLog: Flajolet, Fusy, Gandouet, Meunier (2007); estimated without tables of bias by O. Ertl, "New cardinality
/// estimation algorithms for HyperLogLog sketches" (2017), algorithm 6. Hashes are XXH3-64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DistinctSketch {
    /// Hashes of the values, in order.
    Few(Vec<u64>),
    Many(Box<Registers>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    /// By the first bits of a hash: the longest run of zeros at the start of the rest, plus one.
    longest: [u8; N_REGISTERS],
    /// How many registers hold each number, so that an estimate need not look at all of them.
    held: [u16; REST + 2],
}

impl Default for DistinctSketch {
    fn default() -> Self {
        DistinctSketch::Few(Vec::new())
    }
}

impl DistinctSketch {
    pub(crate) fn add(&mut self, value: i64) {
        self.add_hash(stable_hash(&value.to_le_bytes(), 0));
    }

    fn add_hash(&mut self, hash: u64) {
        match self {
            DistinctSketch::Few(hashes) => {
                if let Err(place) = hashes.binary_search(&hash) {
                    hashes.insert(place, hash);
                    if hashes.len() > EXACT {
                        let mut registers = Box::new(Registers::new());
                        hashes.iter().for_each(|hash| registers.add(*hash));
                        *self = DistinctSketch::Many(registers);
                    }
                }
            }
            DistinctSketch::Many(registers) => registers.add(hash),
        }
    }

    /// Takes in the values of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        match other {
            DistinctSketch::Few(hashes) => hashes.iter().for_each(|hash| self.add_hash(*hash)),
            DistinctSketch::Many(registers) => {
                if let DistinctSketch::Few(hashes) = self {
                    let mut merged = registers.clone();
                    hashes.iter().for_each(|hash| merged.add(*hash));
                    *self = DistinctSketch::Many(merged);
                } else if let DistinctSketch::Many(own) = self {
                    let theirs = registers.longest.iter().enumerate();
                    theirs.for_each(|(register, longest)| own.raise(register, *longest));
                }
            }
        }
    }

    /// Number of different values, a whole number.
    pub(crate) fn count(&self) -> f64 {
        match self {
            DistinctSketch::Few(hashes) => hashes.len() as f64,
            DistinctSketch::Many(registers) => registers.estimate().round(),
        }
    }

    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            DistinctSketch::Few(hashes) => {
                bytes.extend((hashes.len() as u64).to_le_bytes());
                hashes.iter().for_each(|hash| bytes.extend(hash.to_le_bytes()));
            }
            DistinctSketch::Many(registers) => {
                bytes.extend(u64::MAX.to_le_bytes());
                bytes.extend(registers.longest);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let odd = || Error::corrupt("feature snapshot", "counts different values that cannot be");
        let n = reader.u64()?;
        if n == u64::MAX {
            let longest = reader.bytes(N_REGISTERS as u64)?;
            let mut registers = Box::new(Registers::new());
            for (register, &longest) in longest.iter().enumerate() {
                if usize::from(longest) > REST + 1 {
                    return Err(odd());
                }
                registers.raise(register, longest);
            }
            return Ok(DistinctSketch::Many(registers));
        }
        if n > EXACT as u64 {
            return Err(odd());
        }
        let hashes = (0..n).map(|_| reader.u64()).collect::<Result<Vec<u64>>>()?;
        if !hashes.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(odd());
        }
        Ok(DistinctSketch::Few(hashes))
    }
}

impl Registers {
    fn new() -> Self {
        let mut held = [0; REST + 2];
        held[0] = N_REGISTERS as u16;
        Registers { longest: [0; N_REGISTERS], held }
    }

    fn add(&mut self, hash: u64) {
        let rest = hash << PRECISION;
        // The bit behind the rest ends a run of nothing but zeros.
        let longest = (rest | 1 << (PRECISION - 1)).leading_zeros() as u8 + 1;
        self.raise((hash >> REST) as usize, longest);
    }

    fn raise(&mut self, register: usize, longest: u8) {
        let held = &mut self.longest[register];
        if *held < longest {
            self.held[usize::from(*held)] -= 1;
            self.held[usize::from(longest)] += 1;
            *held = longest;
        }
    }

    fn estimate(&self) -> f64 {
        let m = N_REGISTERS as f64;
        let share = |k: usize| f64::from(self.held[k]) / m;
        let mut z = m * tau(1.0 - share(REST + 1));
        for k in (1..=REST).rev() {
            z = 0.5 * (z + f64::from(self.held[k]));
        }
        z += m * sigma(share(0));
        m * m / (2.0 * std::f64::consts::LN_2 * z)
    }
}

/// x + Σ x^(2^k) · 2^(k−1), for the registers that nothing has touched.
fn sigma(mut x: f64) -> f64 {
    let (mut y, mut z) = (1.0, x);
    if x == 1.0 {
        return f64::INFINITY;
    }
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3, for the registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> DistinctSketch {
        let mut sketch = DistinctSketch::default();
        values.into_iter().for_each(|value| sketch.add(value));
        sketch
    }

    #[test]
    fn few_values_are_counted_exactly() {
        assert_eq!(of([]).count(), 0.0);
        for n in [1, 100, EXACT as i64] {
            assert_eq!(of((0..n).chain(0..n)).count(), n as f64);
        }
    }

    /// Errors of independent estimates are close to normal with a standard error of 1.04 / √m: among 40 of them, one beyond
    /// 4.5 of those has a chance of 40 · 6.8e-6, and their mean lies within 4 / √40 of one.
    #[test]
    fn many_values_are_estimated_within_the_stated_error() {
        let standard_error = 1.04 / (N_REGISTERS as f64).sqrt();
        for n in [600i64, 5000, 60_000] {
            let errors: Vec<f64> =
                (0..40).map(|run| of(run * n..(run + 1) * n).count() / n as f64 - 1.0).collect();
            let worst = errors.iter().fold(0.0f64, |worst, error| worst.max(error.abs()));
            assert!(worst < 4.5 * standard_error, "{n}: {worst}");
            let mean = errors.iter().sum::<f64>() / 40.0;
            assert!(mean.abs() < 4.0 * standard_error / 40f64.sqrt(), "{n}: {mean}");
        }
    }

    #[test]
    fn the_rarest_hash_fits_its_register() {
        let mut registers = Registers::new();
        registers.add(0);
        assert_eq!(usize::from(registers.longest[0]), REST + 1);
        registers.add(u64::MAX);
        assert_eq!(registers.longest[N_REGISTERS - 1], 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_merge_into_the_whole(
            parts in prop::collection::vec((0i64..3000, 0usize..900), 1..5),
        ) {
            let values = |&(first, n): &(i64, usize)| (first..).take(n);
            let whole = of(parts.iter().flat_map(values));
            let mut merged = DistinctSketch::default();
            parts.iter().rev().for_each(|part| merged.merge(&of(values(part))));
            prop_assert_eq!(&merged, &whole);
            let mut bytes = Vec::new();
            whole.write(&mut bytes);
            let mut reader = Reader::new("sketch", &bytes);
            prop_assert_eq!(DistinctSketch::read(&mut reader).unwrap(), whole);
            reader.finish().unwrap();
        }
    }
}
