//! The feed: a server at `/2/rsvps` like Meetup's closed RSVP stream, with lifelike synthetic events
//! or with a recording.
//!
//! One **timeline** for all clients: an indexable, re-readable sequence of lines. Nothing that was sent
//! is kept in memory; what a resume asks for is generated or read again from the recording or its copy on
//! disk, so that no resume is ever too old. A client is a position in the timeline, never a queue.
//!
//! - The timeline starts when the first client connects, and stands still while nobody is connected.
//! - `sent` is the position of the client that is farthest; a line is sent once it was handed to a socket.
//! - `?since_mtime=T` serves again from the first line sent with `mtime >= T` (0: from the first line),
//!   `?since_count=N` the last N that were sent, both at full speed and then live, without gap or
//!   reordering. Without either a client is served live from now on.
//! - A slow client is slowed by TCP alone and, at a fixed rate, catches up: the schedule does not drift.
//! - After its last line the feed goes on serving resumes and keeps connections open.
//!
//! | module | question |
//! |---|---|
//! | `timeline` | what are the lines? ([`Feed`]) |
//! | `recording` | the lines of a file or a pipe |
//! | `synthetic` | generated lines |
//! | `clock` | when is a line due? ([`Pace`]) |
//! | `mtimes` | which is the first line with this `mtime`? |
//! | `audience` | how far is the timeline, and who listens? |
//! | `server` | how does a line get to a client? ([`serve`], [`Handle`]) |
//! | `truth` | what is the right answer? ([`Truth`]) |

mod audience;
mod clock;
mod command;
mod error;
mod line;
mod mtimes;
mod recording;
mod server;
mod synthetic;
mod timeline;
mod truth;

pub use audience::Progress;
pub use clock::Pace;
pub use command::{Args, run};
pub use error::Error;
pub use server::{Handle, PATH, serve};
pub use synthetic::SyntheticOptions;
pub use timeline::Feed;
pub use truth::{Counted, Counts, Truth};
