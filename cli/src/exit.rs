//! Exit codes, beside 0, 1 (something failed) and clap's 2 (a flag that is not known). Those below 80 are from
//! BSD's sysexits, 124 is that of coreutils' `timeout`, 130 the shell's for Ctrl-C.

/// The command cannot work as it is given.
pub const USAGE: u8 = 64;
/// What is asked for is not there.
pub const NO_INPUT: u8 = 66;
/// The server cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// The time that the user gave is over.
pub const TIMED_OUT: u8 = 124;
/// The user stopped it before it was done.
pub const INTERRUPTED: u8 = 130;
