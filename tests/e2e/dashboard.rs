//! The dashboard in a real browser.

use pipeline_tests::{
    Sandbox, artifacts,
    browser::{self, Browser, LogEntry},
    eventually,
    oracle::Oracle,
    recording,
    sandbox::scratch,
    skip,
};
use serde_json::Value;

/// What the page shows: the bars in order, as (item, count, error).
const BARS: &str = "return [...document.querySelectorAll('li[data-item]')].map(bar => [bar.dataset.item, Number(bar.dataset.count), Number(bar.dataset.error), Number(bar.dataset.rank)])";

/// True while the page shows the newest that there is: results come, or came until the feed ended.
const CURRENT: &str = "return ['live', 'quiet'].includes(document.body.dataset.state)";

/// Keeps every state that the page shows from now on in `states`: one may be over before a test looks.
const RECORD_STATES: &str = "window.states = [];
    new MutationObserver(() => states.push(document.body.dataset.state))
        .observe(document.body, { attributes: true, attributeFilter: ['data-state'] })";

/// Fails on whatever the page has logged as wrong, except what the browser itself says of a socket that was refused
/// while the access-api was away.
fn assert_clean(log: &[LogEntry], restarted: bool) {
    let expected = |entry: &LogEntry| {
        restarted
            && entry.message.contains("/v1/")
            && [
                "ERR_CONNECTION_REFUSED",
                "ERR_CONNECTION_RESET",
                "ERR_INCOMPLETE_CHUNKED_ENCODING",
                "closed before the connection is established",
            ]
            .iter()
            .any(|reason| entry.message.contains(reason))
    };
    let wrong: Vec<&LogEntry> = log
        .iter()
        .filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str()) && !expected(entry))
        .collect();
    assert!(wrong.is_empty(), "the page logged: {wrong:#?}");
}

fn bars(page: &Browser) -> Vec<(String, u64, u64)> {
    let bars = page.execute(BARS);
    let number = |value: &Value| value.as_u64().expect("a number");
    let rows = bars.as_array().expect("a list of bars").iter().enumerate().map(|(at, bar)| {
        assert_eq!(number(&bar[3]), at as u64 + 1, "ranks go up from one");
        (bar[0].as_str().expect("an item").to_owned(), number(&bar[1]), number(&bar[2]))
    });
    rows.collect()
}

/// Waits until the page shows the truth: ten items at least with their counts, in order, without error. Places follow
/// the counts only every 1.5 s, so that a reader's eye can follow them.
fn assert_truth(page: &Browser, truth: &Oracle) {
    page.until("it shows what the server has", CURRENT);
    let wanted: Vec<(String, u64, u64)> =
        truth.topics().top(50).into_iter().map(|(item, count)| (item, count, 0)).collect();
    eventually(&format!("the bars show {:?}", &wanted[..10]), || {
        let shown = bars(page);
        (shown.len() >= 10 && shown == wanted[..shown.len()]).then_some(())
    });
}

#[test]
fn the_dashboard_shows_the_truth_and_survives_a_restart_of_the_access_api() {
    if let Some(name) = browser::missing() {
        return skip(&format!("the browser test: {name} is not installed"));
    }
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 3_000, 51);
    let truth = Oracle::of(recording::lines(&path));

    // The browser is there first, as a reader's is: what is measured is the pipeline.
    let page = Browser::open(1600, 1000);
    page.prefer("dark");
    let mut sandbox = Sandbox::builder().recording(&path).rate(1_000).start();
    let url = sandbox.url("/");
    eventually("the dashboard", || {
        sandbox.assert_running();
        sandbox.get("/")
    });
    page.goto(&url);
    page.until("a first bar", "return document.querySelector('li[data-item]') !== null");
    let seconds = sandbox.started().elapsed().as_secs_f64();
    println!("from `millrace up` to first bars: {seconds:.1} s");
    std::fs::write(artifacts().join("first-bars-seconds.txt"), format!("{seconds:.2}\n"))
        .expect("storing a figure");

    assert_truth(&page, &truth);
    assert_clean(&page.log(), false);
    for (scheme, width, height) in
        [("light", 390, 844), ("dark", 390, 844), ("light", 1600, 1000), ("dark", 1600, 1000)]
    {
        page.prefer(scheme);
        page.resize(width, height);
        let settled = format!(
            "return document.documentElement.dataset.theme === '{scheme}' && innerWidth === {width}
                && document.getAnimations().every(one => one.playState !== 'running')"
        );
        page.until(&format!("{scheme}, {width} wide, at rest"), &settled);
        page.screenshot(&artifacts().join(format!("dashboard-{scheme}-{width}.png")));
    }

    page.execute(RECORD_STATES);
    let killed = sandbox.kill9("access-api");
    page.until("it said that there is no server", "return states.includes('offline')");
    eventually("up starts the access-api again", || {
        (sandbox.process("access-api").pid != killed.pid).then_some(())
    });
    assert_truth(&page, &truth);
    assert_clean(&page.log(), true);
}
