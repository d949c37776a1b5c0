//! Small dense systems of equations.

/// The Cholesky factor of a symmetric positive definite matrix.
#[derive(Debug)]
pub(crate) struct Cholesky {
    n: usize,
    /// Lower triangle, row after row, n × n.
    factor: Vec<f64>,
}

impl Cholesky {
    /// Factors a matrix of n × n, of which the lower triangle is read. `None` where it is singular: a pivot below 1e-12 of
    /// its diagonal element. O(n³).
    pub(crate) fn new(matrix: &[f64], n: usize) -> Option<Self> {
        let mut factor = matrix.to_vec();
        for i in 0..n {
            for j in 0..=i {
                let (row_i, row_j) = (&factor[i * n..i * n + j], &factor[j * n..j * n + j]);
                let dot: f64 = row_i.iter().zip(row_j).map(|(a, b)| a * b).sum();
                let rest = factor[i * n + j] - dot;
                factor[i * n + j] = if i == j {
                    if rest.is_nan() || rest <= 1e-12 * matrix[i * n + i] {
                        return None;
                    }
                    rest.sqrt()
                } else {
                    rest / factor[j * n + j]
                };
            }
        }
        Some(Cholesky { n, factor })
    }

    /// Solves matrix · x = b; x takes the place of b.
    pub(crate) fn solve(&self, b: &mut [f64]) {
        let (n, l) = (self.n, &self.factor);
        for i in 0..n {
            let dot: f64 = (0..i).map(|j| l[i * n + j] * b[j]).sum();
            b[i] = (b[i] - dot) / l[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|j| l[j * n + i] * b[j]).sum();
            b[i] = (b[i] - dot) / l[i * n + i];
        }
    }

    /// The inverse of the matrix, n × n.
    pub(crate) fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        let mut inverse = vec![0.0; n * n];
        for (i, row) in inverse.chunks_exact_mut(n.max(1)).enumerate() {
            row[i] = 1.0;
            self.solve(row);
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_solve_and_singular_matrices_are_found() {
        let matrix = [4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 1.0, 3.0, 6.0]; // the upper triangle is not read
        let factor = Cholesky::new(&matrix, 3).unwrap();
        let mut b = [9.0, 21.0, 25.0]; // full matrix times (1, 2, 3): 4+4+3, 2+10+9, 1+6+18
        b[0] = 11.0;
        factor.solve(&mut b);
        assert!(b.iter().zip([1.0, 2.0, 3.0]).all(|(x, want)| (x - want).abs() < 1e-14), "{b:?}");
        let inverse = factor.inverse();
        assert!((4.0 * inverse[0] + 2.0 * inverse[3] + 1.0 * inverse[6] - 1.0).abs() < 1e-14);
        assert!(Cholesky::new(&[1.0, 0.0, 1.0, 1.0], 2).is_none());
        assert!(Cholesky::new(&[f64::NAN], 1).is_none());
    }
}
