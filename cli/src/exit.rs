//! Exit codes, in addition to 0, 1 (something failed) and clap's 2 (an unknown flag or an invalid value). Those below 80
//! are from BSD's sysexits, 124 is that of coreutils' `timeout`, 130 that of shells for Ctrl-C.

/// The command cannot work as it was given.
pub const USAGE: u8 = 64;
/// What was given is not of the expected form.
pub const DATA: u8 = 65;
/// The thing that was asked for does not exist.
pub const NO_INPUT: u8 = 66;
/// The server cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// The user's timeout has passed.
pub const TIMED_OUT: u8 = 124;
/// The user stopped it before it was done.
pub const INTERRUPTED: u8 = 130;
