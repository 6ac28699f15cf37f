//! The stripe model: what has to be learned is to ignore all coordinates but one (arXiv:2105.02468; arXiv:2007.11471).

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::error::Result;
use relstab::estimate::{Resampling, Responses, Stabilities, stabilities};

/// Median of |x| for a Gaussian x: half of all points lie inside the stripe.
const HALF_WIDTH: f32 = 0.674_49;
/// Standard deviation of the first weights: small, so that training turns them before the network has fitted anything.
const INITIAL: f32 = 0.03;
/// Step of gradient descent in units of the hidden layer's width.
const RATE: f32 = 1.0;
/// Points whose hidden units fit a core's cache.
const CHUNK: usize = 64;
/// Points that sensitivity is measured on, and moves of each.
const TEST_POINTS: usize = 2000;
const MOVES: usize = 4;
/// Norm of a move; points have a norm of about the square root of the dimension.
const NORM: f32 = 0.1;

/// Gaussian points `[point, coordinate]`, labelled 1 where the first coordinate is inside the stripe, else -1.
pub struct Points {
    pub x: Array2<f32>,
    pub labels: Array1<f32>,
}

/// `f(x) = 1/h sum_k v_k relu(w_k x / sqrt(d) + b_k)`, h hidden units; `w` is `[coordinate, unit]`.
#[derive(Clone)]
pub struct Network {
    pub w: Array2<f32>,
    pub b: Array1<f32>,
    pub v: Array1<f32>,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    pub steps: usize,
    /// Points still inside the margin: 0 where the network has fitted all.
    pub left: usize,
}

pub fn normal(rows: usize, columns: usize, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
    Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(random))
}

impl Points {
    pub fn new(count: usize, dimension: usize, random: &mut Xoshiro256PlusPlus) -> Self {
        let x = normal(count, dimension, random);
        let labels = x.column(0).mapv(|x| if x.abs() < HALF_WIDTH { 1.0 } else { -1.0 });
        Self { x, labels }
    }
}

impl Network {
    pub fn new(dimension: usize, hidden: usize, random: &mut Xoshiro256PlusPlus) -> Self {
        let mut vector = || normal(1, hidden, random).remove_axis(Axis(0)) * INITIAL;
        let (b, v) = (vector(), vector());
        Self { w: normal(dimension, hidden, random) * INITIAL, b, v }
    }

    /// What goes into the hidden units, `[point, unit]`.
    fn hidden(&self, x: &ArrayView2<f32>) -> Array2<f32> {
        x.dot(&self.w) / (x.ncols() as f32).sqrt() + &self.b
    }

    pub fn outputs(&self, x: &Array2<f32>) -> Array1<f32> {
        let outputs = |x: ArrayView2<f32>| self.hidden(&x).mapv_into(relu).dot(&self.v);
        let outputs: Vec<_> = x.axis_chunks_iter(Axis(0), CHUNK).flat_map(outputs).collect();
        Array1::from(outputs) / self.v.len() as f32
    }

    /// Gradient descent on the mean of `max(0, 1 - y f(x))` until it is zero, or for `most` steps.
    pub fn train(&mut self, points: &Points, most: usize) -> Training {
        let count = points.x.nrows() as f32;
        let root = (points.x.ncols() as f32).sqrt();
        for steps in 0.. {
            let outputs = self.outputs(&points.x);
            let margins = &outputs * &points.labels;
            let inside: Vec<_> = margins.iter().enumerate().filter(|(_, m)| **m < 1.0).map(|(at, _)| at).collect();
            if inside.is_empty() || steps == most {
                return Training { steps, left: inside.len() };
            }
            // Only points inside the margin pull. The step is `RATE` times the width times the gradient.
            let x = points.x.select(Axis(0), &inside);
            let pull = points.labels.select(Axis(0), &inside) * (RATE / count);
            let mut active = self.hidden(&x.view());
            let towards_v = pull.dot(&active.mapv(relu));
            // [point, unit]: pull times v where the unit is on.
            active.mapv_inplace(|value| f32::from(value > 0.0));
            active *= &self.v;
            self.b += &pull.dot(&active);
            let pulled = x * &pull.insert_axis(Axis(1)) / root;
            self.w += &pulled.t().dot(&active);
            self.v += &towards_v;
        }
        unreachable!("the loop ends after `most` steps")
    }

    /// Share of new points on the wrong side.
    pub fn error(&self, random: &mut Xoshiro256PlusPlus) -> f64 {
        let Points { x, labels } = Points::new(TEST_POINTS, self.w.nrows(), random);
        let wrong = (self.outputs(&x) * labels).iter().filter(|margin| **margin <= 0.0).count();
        wrong as f64 / TEST_POINTS as f64
    }

    /// `D_f`: how much the output changes under moves along all coordinates but the first; `G_f`: under moves of the same norm
    /// in any direction; `R_f` is their ratio.
    pub fn stabilities(&self, random: &mut Xoshiro256PlusPlus) -> Result<Stabilities> {
        let x = normal(TEST_POINTS, self.w.nrows(), random);
        let clean = self.outputs(&x);
        let mut changes = |is_informative: bool| {
            // [point, move]
            let mut changes = Array2::zeros((TEST_POINTS, MOVES));
            for mut column in changes.columns_mut() {
                let mut moves = normal(TEST_POINTS, self.w.nrows(), random);
                if !is_informative {
                    moves.column_mut(0).fill(0.0);
                }
                for mut one in moves.rows_mut() {
                    one *= NORM / one.dot(&one).sqrt();
                }
                column.assign(&(self.outputs(&(&x + &moves)) - &clean).powi(2));
            }
            changes
        };
        let (deformed, noisy) = (changes(false), changes(true));
        let responses = Responses {
            images: TEST_POINTS,
            draws: MOVES,
            outputs: 1,
            clean: clean.as_slice().expect("contiguous"),
            deformed: deformed.as_slice().expect("contiguous"),
            noisy: noisy.as_slice().expect("contiguous"),
        };
        stabilities(&responses, &Resampling::default())
    }
}

fn relu(value: f32) -> f32 {
    value.max(0.0)
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::SeedableRng as _;
    use relstab::estimate::Estimator;

    use super::*;

    fn random() -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(7)
    }

    fn r_f(network: &Network) -> f64 {
        let stabilities = network.stabilities(&mut random()).expect("finite outputs");
        stabilities.get(Estimator::Mean).r_f.as_ref().expect("defined").value
    }

    /// One unit, on for all points, that weighs the coordinates as given.
    fn linear(weights: &[f32]) -> Network {
        let w = Array2::from_shape_fn((weights.len(), 1), |(coordinate, _)| weights[coordinate]);
        Network { w, b: Array1::from_elem(1, 1e3), v: Array1::ones(1) }
    }

    #[test]
    fn half_of_the_points_lie_inside_the_stripe() {
        let labels = Points::new(10_000, 3, &mut random()).labels;
        // Four standard errors of a mean of 10,000 signs.
        assert!(labels.mean().expect("points").abs() < 0.04);
    }

    #[test]
    fn a_network_aligned_by_hand_has_the_stability_of_its_gradient() {
        // R_f = |g'|^2 / (d - 1) over |g|^2 / d, g' without the first coordinate; four standard errors of 8,000 squares each.
        let mut weights = [0.0; 10];
        (weights[0], weights[1]) = (3.0, 1.0);
        assert!((r_f(&linear(&weights)) / (10.0 / 9.0 * 1.0 / 10.0) - 1.0).abs() < 0.09);
        assert!((r_f(&linear(&[1.0; 10])) - 1.0).abs() < 0.09);
        weights[1] = 0.0;
        assert!(r_f(&linear(&weights)) < 1e-6);
    }

    #[test]
    fn a_step_follows_the_gradient_of_the_loss() {
        let random = &mut random();
        let points = Points::new(8, 3, random);
        let mut network =
            Network { w: normal(3, 4, random), b: normal(1, 4, random).remove_axis(Axis(0)), v: Array1::ones(4) };
        let loss =
            |network: &Network| (1.0 - network.outputs(&points.x) * &points.labels).mapv(relu).mean().expect("points");
        let slope = |change: fn(&mut Network, f32)| {
            let (mut up, mut down) = (network.clone(), network.clone());
            change(&mut up, 0.01);
            change(&mut down, -0.01);
            (loss(&up) - loss(&down)) / 0.02
        };
        let slopes = [slope(|of, by| of.w[(1, 2)] += by), slope(|of, by| of.b[3] += by), slope(|of, by| of.v[0] += by)];
        let before = [network.w[(1, 2)], network.b[3], network.v[0]];
        assert_eq!(network.train(&points, 1).steps, 1);
        let after = [network.w[(1, 2)], network.b[3], network.v[0]];
        for ((before, after), slope) in before.iter().zip(after).zip(slopes) {
            assert!((after - before + RATE * 4.0 * slope).abs() < 2e-3, "{before} {after} {slope}");
        }
    }

    #[test]
    fn more_points_teach_to_ignore_more() {
        let trained = |count: usize| {
            let mut random = random();
            let points = Points::new(count, 5, &mut random);
            let mut network = Network::new(5, 50, &mut random);
            let untrained = r_f(&network);
            assert_eq!(network.train(&points, 20_000).left, 0);
            (untrained, r_f(&network))
        };
        let ((untrained, few), (_, many)) = (trained(20), trained(160));
        assert!((untrained - 1.0).abs() < 0.5 && few < 0.7 * untrained && many < 0.3 * few, "{untrained} {few} {many}");
    }
}
