//! What a caught panic said, for a log or a report. Catches none itself.

use std::any::Any;

/// Its words; a panic without words is just that.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").to_owned()
}
