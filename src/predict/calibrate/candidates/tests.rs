use super::*;
use crate::predict::calibrate::calibrate;
use crate::predict::terms::Quantities;

/// Error goes with one quantity; all others are unrelated to it.
fn points(count: usize, term: Term) -> Vec<Point> {
    let point = |index: usize| {
        let scatter = |seed: usize| ((index * seed) % 17) as f64 / 17.0;
        let mut quantities = Quantities::from([
            (Term::RF, 0.1 + scatter(5)),
            (Term::DF, 0.01 + scatter(7)),
            (Term::GF, 0.02 + scatter(11)),
            (Term::ConfidenceClean, 0.1 + 0.8 * scatter(13)),
        ]);
        let value = 0.1 + 0.8 * scatter(3);
        quantities.insert(term, value);
        let log = term.log(&quantities).expect("a logarithm");
        let error = (0.3f64.ln() + 0.7 * log + 0.02 * (scatter(2) - 0.5)).exp();
        Point { label: String::new(), run: None, quantities, spreads: Quantities::new(), error }
    };
    (0..count).map(point).collect()
}

#[test]
fn the_quantity_that_tells_the_error_is_chosen() {
    let chosen = |term| calibrate(&points(12, term), None, None).expect("points enough").form;
    assert_eq!(chosen(Term::ConfidenceClean), Form::ConfidenceClean);
    assert_eq!(chosen(Term::RF), Form::RF);
    assert_eq!(chosen(Term::DF), Form::DFAndGF);
}

#[test]
fn few_points_and_forms_that_were_asked_for_keep_theirs() {
    let points = points(12, Term::ConfidenceClean);
    assert_eq!(calibrate(&points[..4], None, None).expect("points enough").form, Form::RF);
    let asked = calibrate(&points, None, Some(Form::RF)).expect("points enough");
    assert!(asked.form == Form::RF && asked.candidates.is_empty());
    assert!(calibrate(&points, None, Some(Form::AgreementNoisy)).is_err());
}

#[test]
fn the_square_root_knows_its_exponent() {
    let found = calibrate(&points(12, Term::RF), None, Some(Form::SquareRoot)).expect("points enough");
    let fit = found.line.fit().expect("determined");
    assert!((fit.coefficients[1] - 0.5).abs() < 1e-3, "{:?}", fit.coefficients);
    let rooted = Form::SquareRoot.vague().updated(&[(vec![-2.0], -3.0), (vec![0.0], -1.9)]);
    assert!(rooted.fit().and_then(|fit| fit.noise()).is_some_and(|noise| (noise - 0.0707).abs() < 1e-3));
}
