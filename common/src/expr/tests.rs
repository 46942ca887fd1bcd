use super::*;

mod examples;
mod hostile;
mod like;
mod model;
mod property;
mod sentences;

/// What a condition gives for a payload.
fn truth(condition: &str, payload: impl AsRef<[u8]>) -> Option<bool> {
    let condition = Condition::parse(condition).unwrap_or_else(|e| panic!("{condition}: {e}"));
    condition.holds(payload.as_ref(), &mut Slots::default())
}

/// What an expression gives for a payload: each value as JSON would write it, but objects as `…`.
fn values(expr: &str, payload: &str) -> Vec<String> {
    let expr = Expr::parse(expr).unwrap_or_else(|e| panic!("{expr}: {e}"));
    let mut slots = Slots::default();
    let row = slots.fill(expr.paths(), payload.as_bytes()).unwrap();
    let written = |value: Scalar<'_>| match value {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => format!("{text:?}"),
        Scalar::Other => "…".to_owned(),
    };
    expr.values(&row).map(written).collect()
}

fn error(condition: &str) -> Error {
    Condition::parse(condition).expect_err(condition)
}
