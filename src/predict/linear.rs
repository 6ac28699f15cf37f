//! The Bayesian line `y = c0 + c1 x1 + ... + noise`: normal-inverse-gamma, exact from the first point on.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What is known of a line: sums over points `x = (1, x1, ...)`, so that to learn from a point is to add its terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Sum of `x x^T`: the precision of the coefficients, in units of the noise's.
    pub precision: Vec<Vec<f64>>,
    /// Sum of `x y`.
    pub moments: Vec<f64>,
    /// Sum of `y^2`.
    pub squares: f64,
    /// Degrees of freedom of the noise; nothing is known of it at 0 or less.
    pub degrees: f64,
}

/// A point: its `x1, ...` and its y.
pub type Sample = (Vec<f64>, f64);

/// A line that is determined.
#[derive(Debug, Clone)]
pub struct Fit {
    /// `c0, c1, ...`
    pub coefficients: Vec<f64>,
    precision: Cholesky<f64, Dyn>,
    squares: f64,
    degrees: f64,
}

/// What is known of a number: a Student-t distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Student {
    /// Its centre.
    pub mean: f64,
    /// Its scale.
    pub scale: f64,
    /// Its degrees of freedom.
    pub degrees: f64,
}

/// A coefficient that is known this much worse than from its own terms is not known: the terms depend on each other.
const LEAST_PIVOT: f64 = 1e-12;
/// What rounding leaves of a difference of sums.
const ROUNDING: f64 = 1e-14;

impl Linear {
    /// Nothing is known of a line in `terms` variables: the prior `1 / variance`, under which n points give least squares.
    pub fn vague(terms: usize) -> Self {
        let size = terms + 1;
        Self { precision: vec![vec![0.0; size]; size], moments: vec![0.0; size], squares: 0.0, degrees: -(size as f64) }
    }

    /// Known as from independent coefficients, each `(value, precision)`, and a noise of `variance` known to `degrees`.
    pub fn prior(coefficients: &[(f64, f64)], variance: f64, degrees: f64) -> Self {
        let mut prior = Self::vague(coefficients.len() - 1);
        for (index, (value, precision)) in coefficients.iter().enumerate() {
            prior.precision[index][index] = *precision;
            prior.moments[index] = precision * value;
            prior.squares += precision * value.powi(2);
        }
        Self { squares: prior.squares + degrees * variance, degrees, ..prior }
    }

    /// What is known after these points.
    #[must_use]
    pub fn updated<'a>(&self, points: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut known = self.clone();
        for (x, y) in points {
            let x = || std::iter::once(1.0).chain(x.iter().copied());
            for (row, first) in known.precision.iter_mut().zip(x()) {
                row.iter_mut().zip(x()).for_each(|(sum, second)| *sum += first * second);
            }
            known.moments.iter_mut().zip(x()).for_each(|(sum, x)| *sum += x * y);
            known.squares += y.powi(2);
            known.degrees += 1.0;
        }
        known
    }

    /// The line; `None` where nothing determines it, as one point or points at one x do not.
    pub fn fit(&self) -> Option<Fit> {
        let size = self.moments.len();
        if self.precision.len() != size || self.precision.iter().any(|row| row.len() != size) {
            return None;
        }
        let moments = DVector::from_column_slice(&self.moments);
        let precision = Cholesky::new(DMatrix::from_fn(size, size, |row, column| self.precision[row][column]))?;
        let is_determined =
            |index: usize| precision.l_dirty()[(index, index)].powi(2) > LEAST_PIVOT * self.precision[index][index];
        let coefficients = precision.solve(&moments);
        let squares = (self.squares - coefficients.dot(&moments)).max(ROUNDING * self.squares);
        let is_finite = squares.is_finite() && self.degrees.is_finite() && coefficients.iter().all(|c| c.is_finite());
        ((0..size).all(is_determined) && is_finite).then(|| Fit {
            coefficients: coefficients.as_slice().to_vec(),
            precision,
            squares,
            degrees: self.degrees,
        })
    }
}

impl Fit {
    /// The line at `x1, ...`
    pub fn at(&self, x: &[f64]) -> f64 {
        self.coefficients[0] + self.coefficients[1..].iter().zip(x).map(|(c, x)| c * x).sum::<f64>()
    }

    /// Standard deviation of the noise; `None` where too few points tell.
    pub fn noise(&self) -> Option<f64> {
        (self.degrees > 0.0).then(|| (self.squares / self.degrees).sqrt())
    }

    /// Coefficient number `index`; `None` where too little is known.
    pub fn coefficient(&self, index: usize) -> Option<Student> {
        let only = DVector::from_fn(self.coefficients.len(), |row, _| f64::from(u8::from(row == index)));
        self.known(self.coefficients[index], self.inflation(&only))
    }

    /// The line at `x1, ...`; `None` where too little is known.
    pub fn mean(&self, x: &[f64]) -> Option<Student> {
        self.known(self.at(x), self.inflation(&with_one(x)))
    }

    /// Where a new point at `x1, ...` falls; `None` where too little is known.
    pub fn predictive(&self, x: &[f64]) -> Option<Student> {
        self.known(self.at(x), 1.0 + self.inflation(&with_one(x)))
    }

    /// Variance of this combination of the coefficients, in units of the noise's.
    fn inflation(&self, of: &DVector<f64>) -> f64 {
        of.dot(&self.precision.solve(of))
    }

    fn known(&self, mean: f64, inflation: f64) -> Option<Student> {
        Some(Student { mean, scale: self.noise()? * inflation.sqrt(), degrees: self.degrees })
    }
}

fn with_one(x: &[f64]) -> DVector<f64> {
    DVector::from_iterator(x.len() + 1, std::iter::once(1.0).chain(x.iter().copied()))
}

/// From here on Student's distribution is the normal one to five digits, and its inverse is no longer found.
const MOST_DEGREES: f64 = 1e5;

impl Student {
    fn standard(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.degrees.min(MOST_DEGREES)).ok()
    }

    /// Half the width of the interval that holds the number with probability `level`.
    pub fn half_width(&self, level: f64) -> Option<f64> {
        Some(self.standard()?.inverse_cdf(f64::midpoint(1.0, level)) * self.scale)
    }

    /// The same with another, independent deviation besides.
    #[must_use]
    pub fn widened(self, deviation: f64) -> Self {
        Self { scale: self.scale.hypot(deviation), ..self }
    }

    /// The probability that it lies at least as far from the centre as `y`.
    pub fn beyond(&self, y: f64) -> f64 {
        let distance = (y - self.mean).abs() / self.scale;
        self.standard().map_or(f64::NAN, |student| 2.0 * student.sf(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9 * expected.abs().max(1.0)
    }

    fn points() -> Vec<Sample> {
        [(-2.0, -3.1), (-1.0, -2.2), (0.5, -2.0), (1.5, -1.1)].map(|(x, y)| (vec![x], y)).into()
    }

    #[test]
    fn a_vague_prior_gives_least_squares() {
        let fit = Linear::vague(1).updated(&points()).fit().expect("determined");
        // Sums by hand: x mean -0.25, y mean -2.1, Sxx 7.25, Sxy 3.65, Syy 2.02.
        let slope = 3.65 / 7.25;
        assert!(close(fit.coefficients[1], slope) && close(fit.at(&[-0.25]), -2.1));
        let variance = (2.02 - 3.65 * slope) / 2.0;
        assert!(close(fit.noise().expect("two degrees"), variance.sqrt()));
        let predictive = fit.predictive(&[1.0]).expect("determined");
        assert!(close(predictive.scale, (variance * (1.0 + 0.25 + 1.25f64.powi(2) / 7.25)).sqrt()));
        // The 95% point of Student-t with 2 degrees of freedom, two-sided 90%.
        let half_width = predictive.half_width(0.9).expect("a quantile");
        assert!((half_width / predictive.scale - 2.919_986).abs() < 1e-5);
        assert!((predictive.beyond(predictive.mean - half_width) - 0.1).abs() < 1e-9);
        let of_slope = fit.coefficient(1).expect("determined");
        assert!(close(of_slope.mean, slope) && close(of_slope.scale, (variance / 7.25).sqrt()));
        assert!(close(fit.mean(&[-0.25]).expect("determined").scale, (variance / 4.0).sqrt()));
    }

    #[test]
    fn two_terms_are_found_again() {
        let point = |index: i32| {
            let (first, second) = (f64::from(index), f64::from(index * index % 7));
            (vec![first, second], 0.3 - 0.5 * first + 0.2 * second)
        };
        let fit = Linear::vague(2).updated(&(0..6).map(point).collect::<Vec<_>>()).fit().expect("determined");
        for (found, expected) in fit.coefficients.iter().zip([0.3, -0.5, 0.2]) {
            assert!((found - expected).abs() < 1e-9, "{:?}", fit.coefficients);
        }
        assert!(fit.noise().is_some_and(|noise| noise < 1e-6));
    }

    #[test]
    fn a_prior_is_what_it_says() {
        let fit = Linear::prior(&[(-1.6, 0.8), (0.5, 12.0)], 0.09, 4.0).fit().expect("determined");
        assert!(close(fit.coefficients[0], -1.6) && close(fit.coefficients[1], 0.5));
        let predictive = fit.predictive(&[2.0]).expect("a noise");
        assert!(close(predictive.scale, (0.09f64 * (1.0 + 1.0 / 0.8 + 4.0 / 12.0)).sqrt()));
        assert!(close(predictive.degrees, 4.0) && close(predictive.mean, -0.6));
    }

    #[test]
    fn a_prior_counts_as_the_points_it_was_made_of() {
        let points = points();
        let (first, second) = points.split_at(3);
        assert_eq!(Linear::vague(1).updated(first).updated(second), Linear::vague(1).updated(&points));
    }

    #[test]
    fn too_little_knowledge_predicts_nothing() {
        let points = points();
        assert!(Linear::vague(1).fit().is_none());
        assert!(Linear::vague(1).updated(&points[..1]).fit().is_none());
        let two = Linear::vague(1).updated(&points[..2]).fit().expect("determined");
        assert!(close(two.at(&[0.0]), -1.3) && two.predictive(&[0.0]).is_none());
        for x in [0.0, 0.1, -7.3] {
            let same = [1.0, 2.0, 3.0, 4.0].map(|y| (vec![x], y));
            assert!(Linear::vague(1).updated(&same).fit().is_none(), "{x}");
        }
    }
}
