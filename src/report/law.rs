//! A law and the points behind it, for people to read.

use std::fmt::Write as _;

use super::percent;
use crate::predict::Law;
use crate::predict::calibrate::{Calibration, FEWEST, LEVEL, LeftOut, Verdict};
use crate::predict::saved::Saved;

/// The equation, its spread, and what it was fitted on.
#[must_use]
pub fn heading(law: &Law) -> String {
    let spread = law.sd_log.map_or_else(|| "unknown".to_owned(), |sd| format!("a factor of {:.2}", sd.exp()));
    let mut text = format!("law {}, version {}: {}\n", law.name, law.version, law.equation());
    let _ = writeln!(text, "  spread           {spread} (one standard deviation)");
    let _ = writeln!(
        text,
        "  settings         cutoff {}, delta {}, {}, {}, side {:.0}; {} classes",
        law.cutoff, law.delta, law.interpolation, law.estimator, law.side, law.classes
    );
    if let (Some([low, high]), Some(term)) = (law.fitted_range(), law.terms.first()) {
        let _ = writeln!(text, "  {:<16} {low} to {high}", term.factor());
    }
    let _ = writeln!(text, "  from             {}", law.source);
    if let Some(forced) = &law.forced {
        let _ = writeln!(text, "  forced           {forced}");
    }
    text
}

/// A law with what its points say about it.
#[must_use]
pub fn text(saved: &Saved) -> String {
    let calibration = &saved.calibration;
    let mut text = heading(&saved.law);
    let _ = writeln!(text, "  verdict          {}", verdict(calibration));
    if let Some(ranked) = calibration.rank_correlation {
        let _ = writeln!(text, "  rank correlation {ranked:.2}");
    }
    for (name, left_out) in [("points left out", calibration.by_point), ("runs left out", calibration.by_run)] {
        if let Some(left_out) = left_out {
            let _ = writeln!(text, "  {name:<16} {}", told(&left_out));
        }
    }
    if calibration.candidates.len() > 1 {
        text += "\n  form, on those left out      off by a factor of   gain in log error over the usual\n";
        for candidate in &calibration.candidates {
            let chosen = if candidate.form == calibration.form { "*" } else { " " };
            let gain = candidate.gain.map_or_else(String::new, |[gain, sd]| format!("{gain:+.3} +- {sd:.3}"));
            let _ =
                writeln!(text, "  {chosen} {:<26} {:<20.3} {gain}", candidate.form.to_string(), candidate.error.exp());
        }
    }
    let term = calibration.form.terms()[0];
    let _ = writeln!(text, "\n  {:<10} known error  law's error", term.factor());
    let fit = calibration.line.fit();
    for judged in &calibration.points {
        let point = &judged.point;
        let logs = crate::predict::terms::logs(calibration.form.terms(), &point.quantities);
        let of_law = fit.as_ref().zip(logs).map(|(fit, logs)| percent(fit.at(&logs).exp()));
        let flag = if judged.outlier { "  outlier" } else { "" };
        let _ = writeln!(
            text,
            "  {:<10.4} {:>11}  {:>11}  {}{flag}",
            point.quantities.get(&term).map_or(f64::NAN, |value| term.counted(*value)),
            percent(point.error),
            of_law.unwrap_or_default(),
            point.label
        );
    }
    text
}

/// Whether the law tells anything, in words.
#[must_use]
pub fn verdict(calibration: &Calibration) -> String {
    match calibration.verdict {
        Some(Verdict::Predictive) => "predictive".to_owned(),
        Some(Verdict::Weakly) => "weakly predictive: a wide guess, better than the mean".to_owned(),
        Some(Verdict::Not) => "not predictive: the mean error of the other networks does as well".to_owned(),
        None if calibration.points.len() < FEWEST => format!("none: fewer than {FEWEST} networks"),
        None => "cannot tell: each of two trainings is predicted badly by the other, so measure a third".to_owned(),
    }
}

fn told(left_out: &LeftOut) -> String {
    let coverage = left_out.coverage.map_or_else(String::new, |share| {
        format!("; {:.0}% inside their {:.0}% intervals", 100.0 * share, 100.0 * LEVEL)
    });
    let explained =
        left_out.explained.map_or_else(String::new, |share| format!(", {:.0}% of its variance", 100.0 * share));
    format!(
        "off by a factor of {:.2} (the mean: {:.2}){explained}{coverage}",
        left_out.error.exp(),
        left_out.error_of_mean.exp()
    )
}
