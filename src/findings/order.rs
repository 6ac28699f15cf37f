//! Whether labels number the classes as the network does.

use std::collections::{BTreeSet, HashMap};

use super::{Code, Finding};
use crate::check::shares::Discordant;

/// Orders that are found without names are looked for from this many images a class on.
const IMAGES_EACH: usize = 20;
/// Fewer images show no order.
const FEWEST: usize = 40;
/// Level at which the images that did not find an order confirm it.
const LEVEL: f64 = 0.99;
/// Classes that are named in an order without a name.
const NAMED: usize = 5;

/// Which output a label means.
type Order = Vec<usize>;

/// An error that doubled because of the order may look like this much of it under the right one, on so few images.
const SHARE_LEFT: f64 = 2.0 / 3.0;

/// Another order of the classes under which the error is at most two thirds and ten points lower: the best on half of the images,
/// if it holds on the other half.
pub(super) fn other_order(classes: &[u32], labels: &[u32], outputs: usize) -> Option<Finding> {
    if classes.len() < FEWEST || outputs < 2 {
        return None;
    }
    let (finding, confirming) = halves(classes, labels);
    let identity: Order = (0..=outputs).collect();
    let found = error(&finding, &identity);
    if found < 0.1 {
        return None;
    }
    let named = [
        ("label k means output k + 1", shifted(outputs, 1)),
        ("label k means output k - 1", shifted(outputs, outputs - 1)),
        ("the network sorted its classes as text, 10 before 2", sorted_as_text(outputs)),
        ("the labels were sorted as text, 10 before 2", inverse(&sorted_as_text(outputs))),
    ];
    let mut candidates: Vec<(String, Order)> = named
        .into_iter()
        .map(|(name, order)| (name.to_owned(), order))
        .filter(|(_, order)| *order != identity)
        .collect();
    let present: Vec<usize> = BTreeSet::from_iter(labels).into_iter().map(|label| *label as usize).collect();
    if classes.len() >= IMAGES_EACH * present.len() && present.len() <= outputs {
        let of_present = assignment(&confusion(&finding, &present, outputs));
        let mut order = vec![outputs; outputs.max(present[present.len() - 1] + 1)];
        present.iter().zip(of_present).for_each(|(label, class)| order[*label] = class);
        candidates.push((moved(&present, &order), order));
    }
    let errors = candidates.into_iter().map(|(name, order)| (error(&finding, &order), name, order));
    let (_, name, order) = errors.min_by(|(a, ..), (b, ..)| a.total_cmp(b))?;
    let (as_it_is, otherwise) = (error(&confirming, &identity), error(&confirming, &order));
    let is_right = |order: &Order, (class, label): (usize, usize)| order.get(label) == Some(&class);
    let wrong = confirming.iter().map(|pair| (!is_right(&order, *pair), !is_right(&identity, *pair)));
    let gained = Discordant::of(wrong);
    // One that gives all images the class of most is under no order better than that.
    let is_clear = gained.interval(LEVEL).0 > 0.05
        && otherwise <= SHARE_LEFT * as_it_is.min(of_one_class(labels))
        && as_it_is - otherwise >= 0.1;
    is_clear.then(|| {
        let text = format!(
            "the labels number the classes in another order than the network: were it so that {name}, the error would be \
             {:.1}% rather than {:.1}%",
            100.0 * otherwise,
            100.0 * as_it_is
        );
        Finding::new(Code::ClassOrder, text)
    })
}

/// The error of giving all images the commonest class.
fn of_one_class(labels: &[u32]) -> f64 {
    let mut counts = HashMap::<u32, usize>::new();
    for label in labels {
        *counts.entry(*label).or_default() += 1;
    }
    1.0 - counts.into_values().max().unwrap_or_default() as f64 / labels.len().max(1) as f64
}

type Pairs = Vec<(usize, usize)>;

/// Class and label of every other image of each label.
fn halves(classes: &[u32], labels: &[u32]) -> (Pairs, Pairs) {
    let mut seen = HashMap::<u32, usize>::new();
    let mut halves = (Vec::new(), Vec::new());
    for (class, label) in classes.iter().zip(labels) {
        let count = seen.entry(*label).or_default();
        let half = if count.is_multiple_of(2) { &mut halves.0 } else { &mut halves.1 };
        half.push((*class as usize, *label as usize));
        *count += 1;
    }
    halves
}

fn error(pairs: &Pairs, order: &Order) -> f64 {
    let wrong = pairs.iter().filter(|(class, label)| order.get(*label) != Some(class)).count();
    wrong as f64 / pairs.len().max(1) as f64
}

/// One label more than there are outputs is allowed, for labels that count from 1.
fn shifted(outputs: usize, by: usize) -> Order {
    (0..=outputs).map(|label| (label + by) % outputs).collect()
}

fn sorted_as_text(outputs: usize) -> Order {
    let mut sorted: Vec<usize> = (0..outputs).collect();
    sorted.sort_by_key(ToString::to_string);
    inverse(&sorted)
}

fn inverse(order: &Order) -> Order {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(label, class)| inverse[*class] = label);
    inverse
}

fn moved(present: &[usize], order: &Order) -> String {
    let moved: Vec<_> =
        present.iter().map(|label| (label, order[*label])).filter(|(label, class)| *label != class).collect();
    let named = moved.iter().take(NAMED).map(|(label, class)| format!("label {label} means output {class}"));
    let more = if moved.len() > NAMED { format!(", and {} more", moved.len() - NAMED) } else { String::new() };
    named.collect::<Vec<_>>().join(", ") + &more
}

/// How often each label that there is, in ascending order, meets each class.
fn confusion(pairs: &Pairs, present: &[usize], outputs: usize) -> Vec<Vec<i64>> {
    let mut counts = vec![vec![0; outputs]; present.len()];
    for (class, label) in pairs {
        if let Ok(row) = present.binary_search(label) {
            counts[row][*class] += 1;
        }
    }
    counts
}

/// The one class for each label, of as many or more, that makes the sum of `counts` the largest: the Hungarian method by shortest
/// augmenting paths (Jonker and Volgenant, Computing 38, 325, 1987).
fn assignment(counts: &[Vec<i64>]) -> Order {
    let (rows, n) = (counts.len(), counts.first().map_or(0, Vec::len));
    // Column 0 stands for the row that is being assigned.
    let (mut of_row, mut of_column, mut row_of) = (vec![0_i64; rows + 1], vec![0_i64; n + 1], vec![0_usize; n + 1]);
    for row in 1..=rows {
        row_of[0] = row;
        let (mut column, mut least, mut from) = (0, vec![i64::MAX; n + 1], vec![0; n + 1]);
        let mut is_done = vec![false; n + 1];
        while row_of[column] != 0 {
            is_done[column] = true;
            let (at, mut step, mut next) = (row_of[column], i64::MAX, 0);
            for other in 1..=n {
                if is_done[other] {
                    continue;
                }
                let cost = -counts[at - 1][other - 1] - of_row[at] - of_column[other];
                if cost < least[other] {
                    (least[other], from[other]) = (cost, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            for other in 0..=n {
                if is_done[other] {
                    of_row[row_of[other]] += step;
                    of_column[other] -= step;
                } else {
                    least[other] = least[other].saturating_sub(step);
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[from[column]];
            column = from[column];
        }
    }
    let mut order = vec![0; rows];
    (1..=n).filter(|column| row_of[*column] > 0).for_each(|column| order[row_of[column] - 1] = column - 1);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network of `outputs` classes that is wrong one time in ten, on labels that `order` renumbers.
    fn text_of(order: &Order, outputs: usize, each: usize) -> Option<String> {
        let truth: Vec<usize> = (0..outputs * each).map(|k| k % outputs).collect();
        let classes: Vec<u32> = truth
            .iter()
            .enumerate()
            .map(|(k, class)| if k % 9 == 4 { (class + k) % outputs } else { *class } as u32)
            .collect();
        let labels: Vec<u32> = truth
            .iter()
            .map(|class| order.iter().position(|output| output == class).expect("an order") as u32)
            .collect();
        other_order(&classes, &labels, outputs).map(|finding| finding.text)
    }

    #[test]
    fn orders_are_told_apart() {
        let says = |order: Order, outputs, each, words: &str| {
            let text = text_of(&order, outputs, each).unwrap_or_default();
            assert!(text.contains(words), "{words}: {text}");
        };
        says(shifted(10, 1), 10, 5, "output k + 1");
        says(shifted(10, 9), 10, 5, "output k - 1");
        says(sorted_as_text(100), 100, 2, "network sorted its classes as text");
        says(inverse(&sorted_as_text(100)), 100, 2, "labels were sorted as text");
        let swapped: Order = [0, 1, 2, 9, 4, 5, 6, 7, 8, 3].to_vec();
        says(swapped.clone(), 10, 50, "label 3 means output 9, label 9 means output 3");
        assert_eq!(text_of(&swapped, 10, 19), None, "too few images for an order without a name");
        assert_eq!(text_of(&(0..10).collect(), 10, 50), None);
    }

    #[test]
    fn a_network_that_confuses_classes_has_its_order() {
        // Half of the images of 3 as 5 and of 5 as 3, and guesses: no order is much better.
        let labels: Vec<u32> = (0..500).map(|k| k % 10).collect();
        let confused = |(k, label): (usize, &u32)| match label {
            3 | 5 if k % 20 < 10 => 8 - label,
            label => *label,
        };
        let classes: Vec<u32> = labels.iter().enumerate().map(confused).collect();
        assert!(other_order(&classes, &labels, 10).is_none());
        let guesses: Vec<u32> = (0..500_u32).map(|k| k.wrapping_mul(2_654_435_761) >> 7).map(|k| k % 10).collect();
        assert!(other_order(&guesses, &labels, 10).is_none());
    }

    #[test]
    fn labels_of_some_of_the_classes_are_found_among_all() {
        // Three of a thousand classes, numbered from 0 by their folders.
        let labels: Vec<u32> = (0..60).map(|k| k % 3).collect();
        let classes: Vec<u32> = labels.iter().map(|label| [0, 217, 482][*label as usize]).collect();
        let found = other_order(&classes, &labels, 1000).map(|finding| finding.text).unwrap_or_default();
        assert!(found.contains("label 1 means output 217, label 2 means output 482"), "{found}");
    }

    #[test]
    fn a_network_that_gives_one_class_to_all_says_nothing_of_the_order() {
        let labels: Vec<u32> = (0..200).map(|k| u32::from(k % 10 == 0)).collect();
        assert!(other_order(&[1; 200], &labels, 2).is_none());
        // One that tells the classes apart does.
        let swapped: Vec<u32> = labels.iter().map(|label| 1 - label).collect();
        assert!(other_order(&swapped, &labels, 2).is_some());
    }

    #[test]
    fn an_assignment_is_the_best_there_is() {
        let counts = vec![vec![7, 5, 0], vec![6, 1, 0], vec![0, 4, 3]];
        // By hand over the six orders: 5 + 6 + 3.
        assert_eq!(assignment(&counts), [1, 0, 2]);
        // Two labels, four classes: 5 + 9, not 7 + 2.
        assert_eq!(assignment(&[vec![0, 7, 5, 0], vec![0, 9, 2, 1]]), [2, 1]);
    }
}
