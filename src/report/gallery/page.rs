//! A gallery as one page: pictures inside, no script, nothing fetched.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use maud::{Markup, html};

use super::{HEADINGS, Place, advice, deltas, how_shown, mesh, name, phase_space, short, told};
use crate::gallery::{Exhibit, Gallery, Setting, View};
use crate::report::document::{Block, Text, Tone, columns, table};
use crate::report::figure::{png, svg};
use crate::report::page::{block, inline, page};
use crate::report::{percent, significant};
use crate::text::visible;

const STYLE: &str = include_str!("../page/gallery.css");
/// Meshes have twice the pixels they are shown at, for fine screens.
const FINE: usize = 2;
/// Pixels that each of five pictures beside each other may take, and each of two on a phone.
const WIDE: usize = 168;
/// What is asked for, and what comes of it.
const DISPLACEMENT: &str = "Delta is the displacement that is asked for: what is typical of all maps at this temperature. The measured \
     one is the root mean square over the maps that were drawn; the fewer they are, the more the two may differ.";

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
    let small = probe.shape().width;
    let wide = small * (WIDE / small).max(1);
    let styles = format!("{STYLE}{}", (0..gallery.settings().len()).map(shown_if_chosen).collect::<String>());
    let content = html! {
        p { (advice(gallery)) }
        div.gallery.enlarged[gallery.enlarged() > 1] style={ "--wide:" (wide) "px" } {
            (chooser(gallery))
            @for exhibit in &exhibits { (exhibit) }
        }
        (block(&Block::List(how_shown(gallery).into_iter().map(|told| vec![told.into()]).collect())))
        h2 { "Settings" }
        (block(&Block::Paragraph(vec![DISPLACEMENT.into()])))
        (block(&settings(gallery)))
        @if let Some(space) = space { figure.drawn {
            img src=(data("svg+xml", space.as_bytes())) alt="Temperature T against cutoff c, with the natural range, lines of constant delta and the settings of the table above";
        } }
        (block(&Block::Facts(facts(gallery))))
    };
    Ok(page(&vec!["Deformations of ".into(), source], &styles, &content))
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

fn settings(gallery: &Gallery) -> Block {
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
    let names = ["setting", "temperature", "displacement measured", "maps that fold", "natural delta", "natural range"];
    let rows = gallery.settings().iter().enumerate().map(row);
    table("Settings, with all maps that a measurement draws", columns(&names, &names[1..5]), rows)
}

/// A grid of all settings, one of which is shown at a time, without a script.
fn chooser(gallery: &Gallery) -> Markup {
    let mut sorted: Vec<(usize, &Setting)> = gallery.settings().iter().enumerate().collect();
    let cutoff = |setting: &Setting| setting.perturber.deformation().cutoff;
    sorted
        .sort_by(|(_, a), (_, b)| cutoff(a).cmp(&cutoff(b)).then(a.perturber.delta().total_cmp(&b.perturber.delta())));
    html! {
        fieldset.chooser {
            legend { "Choose cutoff and delta" }
            @for row in sorted.chunk_by(|(_, a), (_, b)| cutoff(a) == cutoff(b)) {
                div {
                    span { "cutoff " (cutoff(row[0].1)) }
                    @for (index, setting) in row {
                        @let is_inside = matches!(Place::of(&setting.perturber), Place::Inside { .. });
                        label.outside[!is_inside] {
                            input type="radio" name="setting" id=(format!("setting-{index}")) checked[*index == 0];
                            span {
                                (short(setting.perturber.delta())) " px"
                                span.note { (percent(setting.folded_share)) " fold" @if !is_inside { ", outside the natural range" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The style that shows the views of a setting while its button is chosen.
fn shown_if_chosen(index: usize) -> String {
    format!(".gallery:has(#setting-{index}:checked) .setting-{index} {{ display: contents; }}\n")
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
        Ok(shown(index, &title, view, &pictures))
    });
    let views = views.collect::<std::io::Result<Vec<_>>>()?;
    let original = picture(&exhibit.original, HEADINGS[0], &format!("{name}, {}", HEADINGS[0]))?;
    Ok(html! {
        section {
            h2 { (inline(&Text::name(&exhibit.name))) }
            div.exhibit {
                (original)
                @for view in &views { (view) }
            }
        }
    })
}

fn shown(index: usize, title: &str, view: &View, pictures: &[Markup]) -> Markup {
    html! {
        div.view.(format!("setting-{index}")) {
            @for picture in pictures { (picture) }
            p.note { (title) ": " (told(view)) }
        }
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
