use super::*;

#[test]
fn the_shipped_queries_are_valid_and_read_back_from_their_own_text() {
    for query in Query::defaults() {
        assert_eq!(query.problems(), Vec::<String>::new());
        let text = serde_json::to_string(&query).unwrap();
        assert_eq!(serde_json::from_str::<Query>(&text).unwrap(), query);
    }
}

#[test]
fn a_query_needs_no_more_than_a_name_and_an_item() {
    let query: Query =
        serde_json::from_str(r#"{"name":"cities","item":"/group/group_city"}"#).unwrap();
    assert_eq!(
        (query.kind, query.window, query.n, query.capacity),
        (Kind::Top, Window::Running, 50, None)
    );
}

#[test]
fn an_unknown_key_of_a_query_is_refused() {
    let text = r#"{"name":"cities","item":"/a","windwo":{"kind":"running"}}"#;
    assert!(serde_json::from_str::<Query>(text).unwrap_err().to_string().contains("windwo"));
}

#[test]
fn every_problem_names_the_query_the_key_and_the_remedy() {
    let mut query = Query::defaults().remove(1);
    query.name = "Trending/now".to_owned();
    query.n = 0;
    query.capacity = Some(MAX_CAPACITY + 1);
    query.window = sliding(10_000, 3_000);
    let problems = query.problems();
    for (key, remedy) in [
        ("name", "choose"),
        ("n:", "between 1 and"),
        ("capacity", "at most"),
        ("window", "whole number"),
    ] {
        let named = |problem: &&String| {
            problem.starts_with(&format!("query 'Trending/now': {key}")) && problem.contains(remedy)
        };
        assert_eq!(problems.iter().filter(named).count(), 1, "{key} in {problems:#?}");
    }
    assert_eq!(problems.len(), 4);
}

#[test]
fn windows_that_are_too_large_or_do_not_fit_their_slide_are_refused() {
    let mut query = Query::defaults().remove(1);
    for (size_ms, slide_ms) in [(0, 0), (5, 0), (20_000_000, 1), (u64::MAX, 1_000)] {
        query.window = sliding(size_ms, slide_ms);
        assert_eq!(query.problems().len(), 1, "{size_ms} by {slide_ms}");
    }
    let short = Sliding::new(Duration::from_secs(10), Duration::from_secs(1));
    let day = Duration::from_secs(86_400);
    for long in [
        Sliding { skew: day, ..short },
        Sliding { lateness: day, ..short },
        Sliding { skew: Duration::MAX, ..short },
        Sliding { slide: Duration::from_nanos(1), ..short },
    ] {
        query.window = Window::Sliding(long);
        assert_eq!(query.problems().len(), 1, "{long:?}");
    }
}

fn sliding(size_ms: u64, slide_ms: u64) -> Window {
    Window::Sliding(Sliding::new(Duration::from_millis(size_ms), Duration::from_millis(slide_ms)))
}

#[test]
fn windows_are_written_in_the_units_of_people() {
    let text = r#"{"name":"a","item":"/a","window":{"kind":"sliding","size":"30m","slide":"5s","skew":"10s"}}"#;
    let query: Query = serde_json::from_str(text).unwrap();
    let Window::Sliding(window) = query.window else { panic!("{query:?}") };
    let lengths = [window.size_ms(), window.slide_ms(), window.skew_ms(), window.lateness_ms()];
    assert_eq!(lengths, [1_800_000, 5_000, 10_000, 0]);
    for wrong in [
        "\"kind\":\"sliding\",\"size\":\"30m\",\"slide\":\"5s\",\"skwe\":\"1s\"",
        "\"kind\":\"sliding\",\"size\":5,\"slide\":5",
    ] {
        let text = format!(r#"{{"name":"a","item":"/a","window":{{{wrong}}}}}"#);
        assert!(serde_json::from_str::<Query>(&text).is_err(), "{wrong}");
    }
}

#[test]
fn an_unknown_kind_is_refused_with_its_name() {
    for kind in ["trend", "distinct", "Top", ""] {
        let text = format!(r#"{{"name":"a","item":"/a","kind":"{kind}"}}"#);
        let error = serde_json::from_str::<Query>(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{kind}`")) && error.contains("`top`"), "{error}");
    }
}
