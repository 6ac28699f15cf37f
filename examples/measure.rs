//! `R_f` and the predicted test error of one network: `cargo run --example measure -- MODEL PROBE`

use relstab::{backend, error::Result, measure, predict::Law, probe};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [model, images] = arguments.as_slice() else { panic!("usage: measure MODEL PROBE") };

    let probe = probe::ProbeSet::open(images.as_ref(), &probe::Options::default())?;
    let network = backend::open(model.as_ref(), probe.shape(), &backend::Options::default())?;
    let law = measure::ChosenLaw { law: Law::preset("cifar10")?, explicit: false, force: true };
    let settings = measure::Settings { law: Some(law), ..Default::default() };
    let measurement = measure::measure(&*network, &probe, &settings, &|_done, _all| ())?;
    println!("R_f {:?}, predicted error {:?}", measurement.r_f, measurement.prediction);
    Ok(())
}
