//! The bounds of an expression. They bound what reading and evaluating one can cost, whoever wrote it.

/// The longest text of an expression, in bytes.
pub const MAX_TEXT: usize = 4096;

/// The most nodes of an expression: operators, functions, paths and literals. Literals in the list of an `IN` have a
/// bound of their own, [`MAX_LIST`].
pub const MAX_NODES: usize = 256;

/// How deep an expression may be nested; a chain of `AND` or of `OR` is one level. It also bounds parentheses.
pub const MAX_DEPTH: usize = 32;

/// The most members of a list: of an `IN`, and of the bounds of `bucket`.
pub const MAX_LIST: usize = 256;

/// The most different paths of an expression. While an event is read, each is one bit of a word.
pub const MAX_PATHS: usize = 32;

/// The most steps of a path.
pub const MAX_STEPS: usize = 16;

/// The most elements that `[*]` finds in one event. Those after them are not looked at.
pub const MAX_ELEMENTS: usize = 1000;

/// The longest part of a `LIKE` pattern between two `%` that has a `_`, in characters. While such a part is looked
/// for, each of its characters is one bit of a word.
pub const MAX_WILD: usize = 64;
