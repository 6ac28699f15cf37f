//! Libraries that panic at what users give them: an error, not a panic, is told.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use tracing::debug;

thread_local! {
    /// Whether a panic of this thread is caught here.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or the words of its panic.
///
/// # Errors
/// The panic's words.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    outcome.map_err(|reason| {
        let text = reason.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| reason.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
    })
}

/// From now on, what [`caught`] catches is not printed where it happens.
pub fn hush() {
    let usual = take_hook();
    set_hook(Box::new(move |panic| if IS_CAUGHT.get() { debug!("{panic}") } else { usual(panic) }));
}
