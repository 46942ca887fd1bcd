//! A dead-letter reason as an argument.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::event::Reason;

/// Reads a reason by its name.
pub fn reasons() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(|name| name.parse::<Reason>())
}
