//! A gallery as one page: pictures inside, no script, nothing fetched.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use maud::{Markup, html};

use super::{HEADINGS, Place, advice, deltas, how_shown, mesh, name, phase_space, told};
use crate::gallery::{Exhibit, Gallery, Setting, View};
use crate::report::document::{Block, Table, Text, Tone, columns};
use crate::report::figure::{png, svg};
use crate::report::page::{block, inline, page};
use crate::report::{percent, significant};
use crate::text::visible;

const STYLE: &str = include_str!("../page/gallery.css");
/// Meshes have twice the pixels they are shown at, for fine screens.
const FINE: usize = 2;
/// Pixels that two pictures beside each other may take on a phone.
const NARROW: usize = 168;

/// A gallery as an HTML document.
///
/// # Errors
/// What a picture cannot be drawn or encoded for.
pub fn html(gallery: &Gallery) -> std::io::Result<String> {
    let probe = gallery.probe();
    let source = Text::name(probe.source());
    let space = phase_space(gallery).as_ref().map(svg).transpose()?;
    let exhibits = (0..gallery.images()).map(|index| exhibit(gallery, &gallery.exhibit(index)));
    let exhibits = exhibits.collect::<std::io::Result<Vec<_>>>()?;
    let [width, _] = gallery.shown_size();
    let small = probe.shape().width;
    let narrow = small * (NARROW / small).max(1);
    let content = html! {
        p { (advice(gallery)) }
        @if let Some(space) = space { figure.drawn {
            img src=(data("svg+xml", space.as_bytes())) alt="Temperature T against cutoff c, with the natural range, lines of constant delta and the settings of the table below";
        } }
        (block(&Block::Table(settings(gallery))))
        (block(&Block::Facts(facts(gallery))))
        h2 { "Images" }
        (block(&Block::List(how_shown(gallery).into_iter().map(|told| vec![told.into()]).collect())))
        div.gallery.enlarged[gallery.enlarged() > 1] style={ "--wide:" (width) "px;--narrow:" (narrow) "px" } {
            @for exhibit in &exhibits { (exhibit) }
        }
    };
    Ok(page(&vec!["Deformations of ".into(), source], STYLE, &content))
}

fn facts(gallery: &Gallery) -> Vec<(&'static str, Vec<Text>)> {
    let (probe, Setting { perturber, drawn, .. }) = (gallery.probe(), &gallery.settings()[0]);
    let enlarged = match gallery.enlarged() {
        1 => String::new(),
        times => format!(", enlarged {times} times"),
    };
    let facts = [
        ("shown", format!("{} of {} images, the first draw of each", gallery.images(), probe.len())),
        ("images", format!("{} (channels x height x width){enlarged}", probe.shape())),
        ("maps drawn", format!("{drawn} for each setting, {} for each image", drawn / probe.len())),
        ("interpolation", perturber.interpolation().to_string()),
        ("seed", perturber.seed().to_string()),
    ];
    facts.into_iter().map(|(name, value)| (name, vec![Text::Own(value)])).collect()
}

fn settings(gallery: &Gallery) -> Table {
    let row = |(index, setting): (usize, &Setting)| {
        let Setting { perturber, rms_px, folded_share, .. } = setting;
        let (range, place) = match Place::of(perturber) {
            Place::Inside { least, most } => (Some(deltas(least, most)), Text::Verdict(Tone::Good, "inside".into())),
            Place::Outside { least, most } => {
                (Some(deltas(least, most)), Text::Verdict(Tone::Unsure, "outside".into()))
            }
            Place::Nowhere => (None, Text::Verdict(Tone::Unsure, "there is none".into())),
        };
        vec![
            Text::Own(titled(index, setting)),
            significant(perturber.temperature()).into(),
            format!("{} px", significant(*rms_px)).into(),
            percent(*folded_share).into(),
            Text::known(range),
            place,
        ]
    };
    let names = ["setting", "temperature", "displacement, rms", "maps that fold", "natural delta", "natural range"];
    Table {
        caption: "Settings, with all maps that a measurement draws",
        columns: columns(&names, &names[1..5]),
        rows: gallery.settings().iter().enumerate().map(row).collect(),
    }
}

/// A setting's name, and whether it is the chosen one: the first.
fn titled(index: usize, setting: &Setting) -> String {
    let chosen = if index == 0 { " (chosen)" } else { "" };
    format!("{}{chosen}", name(setting))
}

fn exhibit(gallery: &Gallery, exhibit: &Exhibit) -> std::io::Result<Markup> {
    let name = visible(&exhibit.name);
    let settings = gallery.settings().iter().enumerate().zip(&exhibit.views);
    let views = settings.map(|((index, setting), view)| {
        let title = titled(index, setting);
        let mesh = mesh(gallery.probe().shape(), view, FINE * gallery.enlarged());
        let pictures = [&view.deformed, &view.noisy, &view.difference, &mesh].into_iter().zip(&HEADINGS[1..]);
        let pictures = pictures.map(|(image, kind)| picture(image, kind, &format!("{name}, {kind}: {title}")));
        let pictures = pictures.collect::<std::io::Result<Vec<_>>>()?;
        Ok(shown(&title, view, &pictures))
    });
    let views = views.collect::<std::io::Result<Vec<_>>>()?;
    let original = picture(&exhibit.original, HEADINGS[0], &format!("{name}, {}", HEADINGS[0]))?;
    Ok(html! {
        section {
            h3 { (inline(&Text::name(&exhibit.name))) }
            div.exhibit {
                (original)
                div { @for view in &views { (view) } }
            }
        }
    })
}

fn shown(title: &str, view: &View, pictures: &[Markup]) -> Markup {
    html! {
        h4 { (title) }
        p.note { (told(view)) }
        div.pictures { @for picture in pictures { (picture) } }
    }
}

fn picture(image: &RgbImage, kind: &str, alt: &str) -> std::io::Result<Markup> {
    let source = data("png", &png(image)?);
    Ok(
        html! { figure.(kind) { img src=(source) alt=(alt) width=(image.width()) height=(image.height()); figcaption { (kind) } } },
    )
}

fn data(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes))
}
