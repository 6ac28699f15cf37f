//! A run's own law, as its known errors arrive.

use super::Law;
use super::calibrate::{FEWEST, Form, Known, Point, law, prior, samples};
use super::terms::logs;

/// What `base`, or nothing, becomes after these networks of one run, in training order; `None` where they determine no law.
///
/// Networks of other settings than the last one's are left out, and so are those of which a quantity or the error has no logarithm.
pub fn refitted(known: &[Known], base: Option<&Law>) -> Option<Law> {
    let last = known.last()?;
    let is_of_classes = |law: &&Law| law.sets.is_some() || law.classes == last.classes.max(2);
    let base = base.filter(is_of_classes).filter(|law| law.unlike(&last.conditions, last.classes).is_none());
    let form = base.map_or_else(|| Form::usual(known.iter().map(|known| &known.point)), Form::of);
    let is_usable = |known: &&Known| {
        let is_alike = last.conditions.difference(&known.conditions).is_none() && last.classes == known.classes;
        let has_logarithms = logs(form.terms(), &known.point.quantities).is_some();
        is_alike && has_logarithms && known.point.error > 0.0 && known.point.error <= 1.0
    };
    let points: Vec<Point> = known.iter().filter(is_usable).map(|known| known.point.clone()).collect();
    if points.is_empty() || (base.is_none() && points.len() < FEWEST) {
        return None;
    }
    let line = base.map_or_else(|| form.vague(), prior).updated(&samples(form.terms(), &points)?);
    line.fit()?.noise()?;
    let name = base.map_or_else(|| "run".to_owned(), |law| format!("{}+run", law.name));
    let from = base.map_or_else(|| "fitted".to_owned(), |law| format!("{}; refitted", law.source));
    let source = format!("{from} on {} checkpoints of this run", points.len());
    let refitted =
        law(&name, (form, &line), &points.iter().collect::<Vec<_>>(), (&last.conditions, last.classes), source);
    let widest = |own: [f64; 2], of_base: [f64; 2]| [own[0].min(of_base[0]), own[1].max(of_base[1])];
    let range = |wider: fn(f64, f64) -> f64, own: Option<f64>, end: fn(&Law) -> Option<f64>| match base {
        None => own,
        Some(base) => own.zip(end(base)).map(|(own, of_base)| wider(own, of_base)),
    };
    Some(Law {
        // What the base's networks said of it counts until this run's say enough.
        explained: base.and_then(|law| law.explained).filter(|_| points.len() < FEWEST),
        forced: base.and_then(|law| law.forced.clone()),
        range: match base {
            None => refitted.range,
            Some(base) => refitted.range.zip(base.range).map(|(own, of_base)| widest(own, of_base)),
        },
        sd_measured: base.map_or(refitted.sd_measured, |base| base.sd_measured),
        r_f_min: range(f64::min, refitted.r_f_min, |law| law.r_f_min),
        r_f_max: range(f64::max, refitted.r_f_max, |law| law.r_f_max),
        ..refitted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::terms::{Quantities, Term};

    fn known(count: usize) -> Vec<Known> {
        let law = Law::preset("fashionmnist-c3").expect("a preset");
        let known = |index: usize| {
            let r_f = 0.7 / (1.0 + index as f64);
            let error = 0.5 * r_f.powf(0.4) * if index.is_multiple_of(2) { 1.02 } else { 0.98 };
            let quantities = Quantities::from([(Term::RF, r_f)]);
            let point = Point { label: String::new(), run: None, quantities, spreads: Quantities::new(), error };
            Known { point, conditions: law.conditions(), classes: 10, data_set: None }
        };
        (0..count).map(known).collect()
    }

    #[test]
    fn a_run_draws_its_law_to_itself() {
        let base = Law::preset("fashionmnist-c3").expect("a preset");
        let one = refitted(&known(1), Some(&base)).expect("a law");
        let many = refitted(&known(20), Some(&base)).expect("a law");
        assert!(base.a < one.a && one.a < many.a && (many.a - 0.5).abs() < 0.1, "{} {}", one.a, many.a);
        assert_eq!((one.name.as_str(), one.points, one.r_f_max), ("fashionmnist-c3+run", Some(1), base.r_f_max));
        assert!(many.sd_log < base.sd_log);
    }

    #[test]
    fn without_a_law_it_takes_some_networks_and_other_settings_do_not_count() {
        assert!(refitted(&[], None).is_none() && refitted(&known(4), None).is_none());
        assert_eq!(refitted(&known(5), None).map(|law| law.name).as_deref(), Some("run"));
        let mut mixed = known(9);
        mixed.iter_mut().take(4).for_each(|known| known.conditions.cutoff = 5);
        mixed[5].point.error = 0.0;
        assert!(refitted(&mixed, None).is_none());
        let elsewhere = Law::preset("cifar10").expect("a preset");
        assert_eq!(refitted(&known(5), Some(&elsewhere)).map(|law| law.name).as_deref(), Some("run"));
        // Nor does a law of another number of classes.
        let mut many = known(5);
        for known in &mut many {
            known.classes = 100;
        }
        let base = Law::preset("fashionmnist-c3").expect("a preset");
        assert_eq!(refitted(&many, Some(&base)).map(|law| law.name).as_deref(), Some("run"));
    }
}
