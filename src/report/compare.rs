//! What `relstab compare` found.

use crate::rank::{Pair, Ranking};

/// For people on a terminal.
#[must_use]
pub fn text(ranking: &Ranking) -> String {
    let mut text = format!("{:>4}  {:<24} {:<26} network\n", "rank", "R_f", "over the first's");
    for model in &ranking.models {
        let rank = ranking.rank(model);
        // The sign of a tie stands behind the column of numbers.
        let rank = if rank.ends_with('=') { rank } else { rank + " " };
        let r_f = model.measurement.r_f.as_ref().map_or_else(String::new, super::interval);
        let over = ranking.over_first(model).map_or_else(String::new, ratio);
        text += &format!("{rank:>5} {r_f:<24} {over:<26} {}\n", model.measurement.model.path.display());
    }
    text
}

fn ratio(pair: &Pair) -> String {
    format!("{:.3} [{:.3}, {:.3}]", pair.ratio, pair.low, pair.high)
}
