//! Names of record headers, and reading them from records that others may have written.
//!
//! rdkafka panics when it reads a header whose name is not UTF-8, and offers no other way to read headers:
//! see `docs/adr/0002-foreign-headers.md`. [`value`] therefore finds only the headers before such a one.
//! The tiers' own records have none, because all names that a tier writes are UTF-8.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use rdkafka::message::{BorrowedMessage, Headers, Message};

/// The event's id; copies of one event have the same.
pub const ID: &str = "mr-id";
/// The source from which the collector received it.
pub const SOURCE: &str = "mr-source";
/// `instance:sequence` of the collector's message log.
pub const SEQ: &str = "mr-seq";
/// Why the record was dead-lettered, a [`Reason`](crate::event::Reason).
pub const REASON: &str = "mr-reason";
/// The dead letter's sequence in the collector's message log.
pub const OFFSET: &str = "mr-offset";
/// The span in which a sampled record was written, in the form of W3C Trace Context; only while traces are on.
pub const TRACEPARENT: &str = "traceparent";
/// On a partial: the spans in which sampled events were counted since the partial before it; only while traces are on.
pub const TRACES: &str = "mr-traces";

/// The value of the first header of this name; `None` if there is none, or if a name before it is not UTF-8.
pub fn value<'m>(record: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    let headers = record.headers()?;
    quietly(|| headers.iter().find(|header| header.key == name).and_then(|header| header.value))?
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Returns what `read` returns, or `None` if it panics. The panic's message is not printed.
fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                print(panic);
            }
        }));
    });
    EXPECTED.set(true);
    // A panic leaves nothing half done, because `read` only looks at what librdkafka holds.
    let outcome = catch_unwind(AssertUnwindSafe(read));
    EXPECTED.set(false);
    outcome.ok()
}

#[cfg(test)]
mod tests;
