//! The dashboard in a real browser.

use std::time::Instant;

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox, artifacts,
    broker::Broker,
    browser::{self, Browser, LogEntry},
    eventually, looks,
    oracle::Oracle,
    path_proxy::PathProxy,
    recording,
    sandbox::scratch,
    skip,
};
use serde_json::Value;

/// What the page shows: the bars in order, as (item, count, error).
const BARS: &str = "return [...document.querySelectorAll('li[data-item]')].map(bar => [bar.dataset.item, Number(bar.dataset.count), Number(bar.dataset.error), Number(bar.dataset.rank)])";

/// How many looks it may take from the dashboard's first answer to its first bars, while all three tiers start. The start
/// of Kafka is not included, because Kafka may have to be fetched first.
const LOOKS_TO_FIRST_BARS: u32 = 150;

/// The screens on which the page is viewed: colour scheme, width and height.
const SCREENS: [(&str, u32, u32); 4] =
    [("light", 390, 844), ("dark", 390, 844), ("light", 1600, 1000), ("dark", 1600, 1000)];

/// True while the page shows the newest results: they still come, or they came until the feed ended.
const CURRENT: &str = "return ['live', 'quiet'].includes(document.body.dataset.state)";

/// Keeps every state that the page shows from now on in `states`, because a state may be over before the test looks.
const RECORD_STATES: &str = "window.states = [];
    new MutationObserver(() => states.push(document.body.dataset.state))
        .observe(document.body, { attributes: true, attributeFilter: ['data-state'] })";

/// Draws the picker of queries in a form of its own, first while more queries appear, then while the query that has the
/// keyboard's focus disappears. `picker` then lists, for each, what had the focus and what could be chosen.
const DRAW_PICKER: &str = "import(new URL('assets/picker.js', document.baseURI)).then(({ createPicker }) => {
    const form = document.body.appendChild(document.createElement('form'));
    const draw = createPicker(form);
    const seen = [];
    const look = () => seen.push(document.activeElement.value, [...form.elements].map(one => one.value).join());
    draw(['b', 'd'], 'b');
    form.querySelector('[value=d]').focus();
    draw(['a', 'b', 'c', 'd', 'e'], 'b');
    look();
    draw(['a', 'b', 'e'], 'b');
    look();
    form.remove();
    window.picker = seen;
})";

/// Fails if the page has logged an error or a warning. Ignores what the browser itself logs about requests that were
/// refused while the access-api was reading (503), or that failed because it was `restarted`.
fn assert_clean(log: &[LogEntry], restarted: bool) {
    let away = [
        "ERR_CONNECTION_REFUSED",
        "ERR_CONNECTION_RESET",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "closed before the connection is established",
    ];
    let expected = |entry: &LogEntry| {
        let says = |reason: &str| entry.message.contains(reason);
        says("/v1/") && (says("503") || (restarted && away.iter().any(|reason| says(reason))))
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

/// Waits until the page shows the exact answer: at least ten items with their counts, in order, without error. The bars
/// are only sorted every 1.5 s, so that people can follow them.
fn assert_truth(page: &Browser, truth: &Oracle) {
    page.until("it shows what the server has", CURRENT);
    let wanted: Vec<(String, u64, u64)> =
        truth.topics().top(50).into_iter().map(|(item, count)| (item, count, 0)).collect();
    eventually(&format!("the bars show {:?}", &wanted[..10]), || {
        let shown = bars(page);
        (shown.len() >= 10 && shown == wanted[..shown.len()]).then_some(())
    });
}

/// Follows the link to the audit, and waits until it accounts for so many messages.
fn assert_audit(page: &Browser, sandbox: &Sandbox, messages: u64) {
    eventually("an audit", || sandbox.get("/v1/audit").filter(|(status, _)| *status == 200));
    page.execute("document.querySelector('[data-testid=audit]').click()");
    page.until("the books balance", "return document.body.dataset.state === 'balanced'");
    let all = format!(
        "return document.querySelector('[data-testid=minutes] [data-row=total] td')?.dataset.value >= {messages}"
    );
    page.until("every message is in the books", &all);
    assert_clean(&page.log(), false);
    page.resize(390, 844);
    let fits = page.execute("return document.documentElement.scrollWidth <= innerWidth");
    assert_eq!(fits, true, "only a table may be scrolled sideways");
    picture(page, "audit", &SCREENS);
}

/// A browser of this size. If there is none, reports the test as skipped.
fn open(width: u32, height: u32) -> Option<Browser> {
    match browser::find() {
        Ok(installed) => Some(Browser::open(&installed, width, height)),
        Err(missing) => {
            skip(&format!("the dashboard in a browser: {missing}"));
            None
        }
    }
}

/// Stores what the page looks like on each screen.
fn picture(page: &Browser, name: &str, screens: &[(&str, u32, u32)]) {
    for &(scheme, width, height) in screens {
        page.prefer(scheme);
        page.resize(width, height);
        let settled = format!(
            "return document.documentElement.dataset.theme === '{scheme}'
                && document.getAnimations().every(one => one.playState !== 'running' || one.effect.getTiming().iterations === Infinity)"
        );
        page.until(&format!("{scheme}, {width} wide, at rest"), &settled);
        page.screenshot(&artifacts().join(format!("{name}-{scheme}-{width}.png")));
    }
}

/// Stores a figure for people to look at.
fn keep(name: &str, figure: &str) {
    std::fs::write(artifacts().join(name), figure).expect("storing a figure");
}

fn await_state(page: &Browser, state: &str) {
    page.until(
        &format!("the page says {state}"),
        &format!("return document.body.dataset.state === '{state}'"),
    );
}

/// The text that the page shows next to its state.
fn detail(page: &Browser) -> String {
    let text = page.execute("return document.querySelector('[data-testid=detail]').textContent");
    text.as_str().expect("a text").to_owned()
}

#[test]
fn the_dashboard_shows_the_truth_and_survives_a_restart_of_the_access_api() {
    // The browser is started first, so that only the pipeline is measured.
    let Some(page) = open(1600, 1000) else { return };
    page.prefer("dark");
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 3_000, 51);
    let truth = Oracle::of(recording::lines(&path));

    let mut sandbox = Sandbox::builder().recording(&path).rate(1_000).start();
    let url = sandbox.url("/");
    eventually("the dashboard", || {
        sandbox.assert_running();
        sandbox.get("/")
    });
    page.goto(&url);
    let ((), taken) = looks(LOOKS_TO_FIRST_BARS, "first bars", || {
        page.execute("return document.querySelector('li[data-item]') !== null")
            .as_bool()
            .filter(|&there| there)
            .map(drop)
    });
    let seconds = sandbox.started().elapsed().as_secs_f64();
    let figure = format!(
        "first bars {seconds:.1} s after the start of `millrace up`, {taken} looks after the page\n"
    );
    keep("first-bars.txt", &figure);

    assert_truth(&page, &truth);
    page.execute(DRAW_PICKER);
    let picker = page.until("the picker was drawn", "return window.picker ?? false");
    assert_eq!(picker, serde_json::json!(["d", "a,b,c,d,e", "b", "a,b,e"]));
    assert_clean(&page.log(), false);
    picture(&page, "dashboard", &SCREENS);

    assert_audit(&page, &sandbox, truth.lines);
    page.goto(&url);
    assert_truth(&page, &truth);

    page.execute(RECORD_STATES);
    let killed = sandbox.kill9("access-api");
    page.until("it said that there is no server", "return states.includes('offline')");
    eventually("up starts the access-api again", || {
        (sandbox.process("access-api").pid != killed.pid).then_some(())
    });
    assert_truth(&page, &truth);
    assert_clean(&page.log(), true);
}

#[test]
fn behind_a_gateway_with_a_path_the_dashboard_says_when_kafka_is_away_and_when_no_result_comes() {
    let Some(page) = open(1600, 1000) else { return };
    let mut broker = Broker::start();
    let mut sandbox = Sandbox::builder().brokers(&broker.address()).rate(200).start();
    let proxy = PathProxy::to(sandbox.address());
    eventually("the dashboard", || {
        sandbox.assert_running();
        sandbox.get("/")
    });
    page.goto(&proxy.url());
    await_state(&page, "live");
    assert_clean(&page.log(), true);

    // The analyzer freezes, as a process does that waits for a disk or a lock.
    let analyzer = sandbox.process("analyzer");
    analyzer.signal(Signal::SIGSTOP);
    await_state(&page, "quiet");
    let said = detail(&page);
    picture(&page, "quiet", &SCREENS);
    analyzer.signal(Signal::SIGCONT);
    assert!(said.starts_with("no result for "), "{said}");
    await_state(&page, "live");

    let killed = Instant::now();
    broker.kill();
    await_state(&page, "kafka-away");
    let seconds = killed.elapsed().as_secs_f64();
    let said = detail(&page);
    keep(
        "kafka-away.txt",
        &format!("the page says that Kafka is away {seconds:.1} s after kill -9\n"),
    );
    assert!(said.starts_with("since ") && said.contains(':'), "a time of day: {said}");
    let (status, _) = sandbox.admin("access-api", "/ready").expect("an answer");
    assert_eq!(status, 503, "what the page says, /ready says");
    picture(&page, "kafka-away", &SCREENS);

    broker.start_again();
    await_state(&page, "live");
    eventually("the access-api is ready again", || {
        sandbox.admin("access-api", "/ready").filter(|(status, _)| *status == 200)
    });
    assert_clean(&page.log(), true);
}
