use super::*;
use crate::error::Error;

fn shape(channels: usize, height: usize, width: usize) -> Shape {
    Shape { channels, height, width }
}

#[test]
fn settings_outside_their_domain_are_named() {
    let usable = shape(3, 32, 32);
    let name = |shape, deformation: Deformation| match Perturber::new(shape, &deformation, 0) {
        Err(Error::Setting { name, .. }) => name,
        other => panic!("{deformation:?} gave {other:?}"),
    };
    for cutoff in [0, 1, u32::MAX] {
        assert_eq!(name(usable, Deformation { cutoff, ..Deformation::default() }), "cutoff");
    }
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE] {
        assert_eq!(name(usable, Deformation { size: Size::Delta(value), ..Deformation::default() }), "delta");
    }
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX] {
        assert_eq!(
            name(usable, Deformation { size: Size::Temperature(value), ..Deformation::default() }),
            "temperature"
        );
    }
    for (channels, height, width) in [(0, 8, 8), (1, 1, 8), (1, 8, 1), (3, 0, 0), (usize::MAX, 8, 8), (1, 8, 1 << 40)] {
        assert_eq!(name(shape(channels, height, width), Deformation::default()), "image");
    }
}

#[test]
fn unusual_settings_warn_with_numbers() {
    let warnings = |cutoff, size| {
        let settings = Deformation { cutoff, size, ..Deformation::default() };
        Perturber::new(shape(3, 32, 32), &settings, 0).expect("usable").warnings()
    };
    assert!(warnings(3, Size::Delta(1.0)).is_empty());
    assert!(warnings(3, Size::Delta(0.5)).is_empty());
    assert!(warnings(3, Size::Temperature(temperature_range(3, 32.0).1)).is_empty());
    for (cutoff, delta, words) in [(3, 0.4, "below"), (3, 4.0, "above"), (15, 1.0, "above"), (21, 1.0, "2n/pi = 20.4")]
    {
        let found = warnings(cutoff, Size::Delta(delta));
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
}

#[test]
fn non_square_images_use_the_mean_square_side() {
    let shape = shape(1, 24, 60);
    let n = f64::midpoint(24.0 * 24.0, 60.0 * 60.0).sqrt();
    assert!((shape.side() - n).abs() < 1e-12);
    let perturber = Perturber::new(shape, &Deformation::default(), 0).expect("usable");
    assert!((typical_displacement(3, perturber.temperature(), n) - 1.0).abs() < 1e-12);
}
