//! Why a checkpoint waits, in words.

/// When a checkpoint is due that was handed to a worker: never.
pub(super) const TAKEN: i64 = i64::MAX;
/// When one is due that waits until the run can be measured at all.
pub(super) const BLOCKED: i64 = i64::MAX - 1;

/// `due` as the journal has it; whether the file was found unfinished, and what it lacks; why it could not be fetched, when it was written
/// last, and how many of its run wait before it.
pub(super) fn why(
    due: i64,
    (is_unfinished, lack): (bool, Option<String>),
    unfetched: Option<String>,
    written: i64,
    ahead: usize,
) -> String {
    let seconds = (jiff::Timestamp::now().as_nanosecond() as f64 - written as f64) / 1e9;
    match (due, is_unfinished, ahead) {
        (due, ..)
            if due < BLOCKED
                && let Some(reason) = unfetched =>
        {
            format!("to be fetched again: {reason}")
        }
        (TAKEN, ..) => "being measured".to_owned(),
        (BLOCKED, ..) => "held back until its run can be measured (relstab status says why)".to_owned(),
        (_, true, _) => {
            let lack = lack.map_or(String::new(), |lack| format!(": {lack}"));
            format!("half written, last changed {:.0} s ago{lack}", seconds.max(0.0))
        }
        (_, false, 0) => "next of its run".to_owned(),
        (_, false, 1) => "behind 1 other".to_owned(),
        (_, false, ahead) => format!("behind {ahead} others"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_wait_has_a_reason() {
        let now = jiff::Timestamp::now().as_nanosecond() as i64;
        assert_eq!(why(TAKEN, (true, None), None, now, 0), "being measured");
        assert!(why(BLOCKED, (false, None), None, now, 3).contains("held back"));
        let before = now - 12_000_000_000;
        assert_eq!(why(5, (true, None), None, before, 3), "half written, last changed 12 s ago");
        let lack = (true, Some("expected more".to_owned()));
        assert_eq!(why(5, lack, None, before, 3), "half written, last changed 12 s ago: expected more");
        assert_eq!(
            (why(5, (false, None), None, now, 0), why(5, (false, None), None, now, 3)),
            ("next of its run".into(), "behind 3 others".into())
        );
        assert_eq!(why(5, (true, None), Some("s3://b/a: gone".into()), now, 0), "to be fetched again: s3://b/a: gone");
    }
}
