//! The feed: a server at `/2/rsvps` like Meetup's closed RSVP stream, with lifelike synthetic events
//! or with a recording.
//!
//! There is one **timeline** for all clients: a sequence of lines that can be read again from any position. Nothing
//! that was sent is kept in memory; what a resume asks for is generated again, or read again from the recording or
//! its copy on disk, so that no resume is ever too old. A client is a position in the timeline, never a queue.
//!
//! - The timeline starts when the first client connects, and stands still while no client is connected.
//! - `sent` is the position of the client that is farthest ahead. A line counts as sent when it is handed to a socket.
//! - `?since_mtime=T` serves again from the first line sent with `mtime >= T` (0: from the first line), and
//!   `?since_count=N` the last N lines that were sent. Both go on live after that, without a gap or
//!   reordering. Without either a client is served live from now on.
//! - Only TCP slows down for a slow client. At a fixed rate such a client catches up, because the schedule does not drift.
//! - After its last line the feed still serves resumes and keeps connections open.
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
pub use recording::lines as recorded_lines;
pub use server::{Handle, PATH, serve};
pub use synthetic::SyntheticOptions;
pub use timeline::Feed;
pub use truth::{Counted, Counts, Truth};
