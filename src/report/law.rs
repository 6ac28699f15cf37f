//! A law and the points behind it.

use super::document::{Block, Document, Text, columns, table};
use super::percent;
use crate::predict::calibrate::{Calibration, Candidate, FEWEST, Judged, LEVEL, LeftOut, Verdict};
use crate::predict::saved::Saved;
use crate::predict::terms::logs;
use crate::predict::{Law, Sets};

/// The equation, its spread, and what it was fitted on.
pub fn document(law: &Law) -> Document {
    let spread = law.sd_log.map_or_else(|| "unknown".to_owned(), |sd| format!("a factor of {:.2}", sd.exp()));
    let Law { cutoff, delta, interpolation, estimator, side, classes, .. } = law;
    let (within, images) = match &law.sets {
        Some(Sets { classes: [least, most], sides: [low, high], .. }) => {
            (", within a data set", format!("side {low:.0} to {high:.0}; {least} to {most} classes"))
        }
        None => ("", format!("side {side:.0}; {classes} classes")),
    };
    let settings = format!("cutoff {cutoff}, delta {delta}, {interpolation}, {estimator}, {images}");
    let mut told = vec![("spread", format!("{spread} (one standard deviation{within})")), ("settings", settings)];
    if let Some(factor) = law.reach(LEVEL) {
        told.push(("interval", format!("a factor of {factor:.1} either way ({:.0}%)", 100.0 * LEVEL)));
    }
    if let (Some([low, high]), Some(term)) = (law.fitted_range(), law.terms.first()) {
        told.push(("range", format!("{} from {low} to {high}", term.factor())));
    }
    told.push(("from", law.source.clone()));
    told.extend(law.forced.clone().map(|forced| ("forced", forced)));
    let heading = format!("law {}, version {}: {}", law.name, law.version, law.equation());
    let title = vec!["Law ".into(), Text::name(&law.name)];
    Document { title, heading: vec![vec![Text::words(&heading)]], blocks: vec![facts(told)] }
}

/// A law with what its points say about it.
pub fn saved(saved: &Saved) -> Document {
    let calibration = &saved.calibration;
    let mut judged = vec![("verdict", verdict(calibration))];
    judged.extend(calibration.rank_correlation.map(|ranked| ("rank correlation", format!("{ranked:.2}"))));
    for (name, left_out) in [("points left out", &calibration.by_point), ("runs left out", &calibration.by_run)] {
        judged.extend(left_out.as_ref().map(|left_out| (name, told(left_out))));
    }
    let mut document = document(&saved.law);
    document.blocks.push(facts(judged));
    document.blocks.extend((calibration.candidates.len() > 1).then(|| candidates(calibration)));
    document.blocks.push(points(calibration));
    document
}

fn facts(told: Vec<(&'static str, String)>) -> Block {
    Block::Facts(told.into_iter().map(|(name, value)| (name, vec![Text::words(&value)])).collect())
}

fn candidates(calibration: &Calibration) -> Block {
    let row = |candidate: &Candidate| {
        let chosen = if candidate.form == calibration.form { "*" } else { "" };
        let gain = candidate.gain.map_or_else(String::new, |[gain, sd]| format!("{gain:+.3} +- {sd:.3}"));
        vec![format!("{}{chosen}", candidate.form).into(), format!("{:.3}", candidate.error.exp()).into(), gain.into()]
    };
    let names = ["form, on those left out", "off by a factor of", "gain in log error over the usual"];
    table("Forms, * the chosen one", columns(&names, &names[1..]), calibration.candidates.iter().map(row))
}

fn points(calibration: &Calibration) -> Block {
    let terms = calibration.form.terms();
    let fit = calibration.line.fit();
    let row = |Judged { point, outlier, .. }: &Judged| {
        let value = point.quantities.get(&terms[0]).map_or(f64::NAN, |value| terms[0].counted(*value));
        let of_law = fit.as_ref().zip(logs(terms, &point.quantities)).map(|(fit, logs)| percent(fit.at(&logs).exp()));
        let known = [format!("{value:.4}"), percent(point.error), of_law.unwrap_or_default()].map(Text::from);
        let name = if *outlier { format!("{}  outlier", point.label) } else { point.label.clone() };
        known.into_iter().chain([Text::words(&name)]).collect()
    };
    let factor = terms[0].factor();
    let names = [&factor, "known error", "law's error", "network"];
    table("Each network", columns(&names, &names[..3]), calibration.points.iter().map(row))
}

/// Whether the law tells anything, in words.
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
