//! The status line on a terminal while `up` runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Error;
use super::console::Console;
use super::feed::RunningFeed;

const EVERY: Duration = Duration::from_secs(1);

/// Shows the progress of the feed, without end. If the feed is elsewhere, only the address of the page is shown.
///
/// # Errors
/// When the feed cannot be read to its end.
pub async fn show(
    listen: SocketAddr,
    feed: Option<&RunningFeed>,
    console: &Console,
) -> Result<(), Error> {
    let Some(feed) = feed else {
        console.status(format!("http://{listen}/  Ctrl-C stops"));
        return std::future::pending().await;
    };
    let through = async {
        feed.through().await?;
        console.say("the feed has sent all its lines; the results stay on the page");
        std::future::pending::<Result<(), Error>>().await
    };
    let ticking = async {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sent, mut at) = (feed.progress().sent, Instant::now());
        loop {
            tick.tick().await;
            let now = feed.progress();
            let rate = rate(now.sent - sent, at.elapsed());
            (sent, at) = (now.sent, Instant::now());
            let of = now.total.map_or_else(String::new, |total| format!(" of {total}"));
            console.status(format!(
                "http://{listen}/  {sent}{of} events sent, {rate}/s  Ctrl-C stops"
            ));
        }
    };
    tokio::select! {
        outcome = through => outcome,
        () = ticking => Ok(()),
    }
}

fn rate(events: u64, within: Duration) -> u64 {
    let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
    (events * 1_000 + millis / 2) / millis
}
