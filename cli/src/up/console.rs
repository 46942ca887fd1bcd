//! Everything that `up` shows on stderr: its own messages, the logs of all processes with their names, and, on a
//! terminal, one status line below them.
//!
//! A separate thread writes, so that a paused terminal does not stop other work. Its queue holds
//! [`QUEUE`] lines; when it is full, further lines are dropped and their number is shown.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How many lines may wait to be written.
const QUEUE: usize = 8_192;
/// How long `up` waits at its end for a terminal that does not take the last lines.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// A handle to the writer.
#[derive(Clone)]
pub struct Console {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    terminal: bool,
    quiet: bool,
}

enum Message {
    Line { who: &'static str, text: String },
    Status(String),
    Flush(SyncSender<()>),
}

impl Console {
    /// Starts the writer on stderr. With `quiet`, messages of [`say`](Self::say) and the status line are left out.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(quiet: bool) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Screen { out: std::io::stderr(), colour, status: String::new() };
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || write(&messages, screen, &lost))?;
        Ok(Self { queue, dropped, terminal, quiet })
    }

    /// Shows a message of `up` itself.
    pub fn say(&self, text: impl Into<String>) {
        if !self.quiet {
            self.line("up", text.into());
        }
    }

    /// Shows a message of `up` even with `quiet`.
    pub fn warn(&self, text: impl Into<String>) {
        self.line("up", text.into());
    }

    /// Shows a log line of the process `who`.
    pub fn line(&self, who: &'static str, text: String) {
        if self.queue.try_send(Message::Line { who, text }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Replaces the status line, if stderr is a terminal.
    pub fn status(&self, text: String) {
        if self.terminal && !self.quiet {
            // If the queue is full it is dropped, because the next one follows soon.
            let _full = self.queue.try_send(Message::Status(text));
        }
    }

    /// Waits until all messages so far are written.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _late = written.recv_timeout(FLUSH_DEADLINE);
        }
    }
}

/// One log line of this process, sent to the console when it is complete.
pub struct LogLine(Console);

impl Write for LogLine {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        // The subscriber writes each event with one call.
        self.0.warn(String::from_utf8_lossy(text).trim_end());
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Console {
    /// A writer for one line of a tracing subscriber.
    pub fn log_line(&self) -> LogLine {
        LogLine(self.clone())
    }
}

fn write(messages: &Receiver<Message>, mut screen: Screen<impl Write>, dropped: &AtomicU64) {
    for message in messages {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            screen.line("up", &format!("{lost} log lines were dropped: stderr is too slow"));
        }
        match message {
            Message::Line { who, text } => screen.line(who, &text),
            Message::Status(text) => screen.show_status(text),
            Message::Flush(done) => {
                screen.show_status(String::new());
                let _gone = done.send(());
            }
        }
    }
}

/// Where the lines are written. A failed write is ignored, because nobody can be told.
struct Screen<W> {
    out: W,
    colour: bool,
    status: String,
}

impl<W: Write> Screen<W> {
    fn line(&mut self, who: &str, text: &str) {
        let text = printable(text);
        let line = if self.colour {
            format!("\x1b[{}m{who:>10} │\x1b[0m {text}\n", colour_of(who))
        } else {
            format!("{who:>10} | {text}\n")
        };
        let (erase, status) = (self.erase(), &self.status);
        let _nobody = write!(self.out, "{erase}{line}{status}").and_then(|()| self.out.flush());
    }

    fn show_status(&mut self, status: String) {
        let erase = self.erase();
        let _nobody = write!(self.out, "{erase}{status}").and_then(|()| self.out.flush());
        self.status = status;
    }

    const fn erase(&self) -> &'static str {
        if self.status.is_empty() { "" } else { "\r\x1b[2K" }
    }
}

fn colour_of(who: &str) -> u8 {
    match who {
        "up" => 1,
        "broker" => 90,
        "collector" => 36,
        "analyzer" => 35,
        _ => 34,
    }
}

/// A log line may quote untrusted text, so control characters are escaped: they could move the cursor.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() && c != '\t' { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

#[cfg(test)]
mod tests;
