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
fn a_key_that_no_query_has_is_refused() {
    let text = r#"{"name":"cities","item":"/a","windwo":{"kind":"running"}}"#;
    assert!(serde_json::from_str::<Query>(text).unwrap_err().to_string().contains("windwo"));
}

#[test]
fn every_problem_names_the_query_the_key_and_the_remedy() {
    let mut query = Query::defaults().remove(1);
    query.name = "Trending/now".to_owned();
    query.n = 0;
    query.capacity = Some(MAX_CAPACITY + 1);
    query.window = Window::Sliding { size_ms: 10_000, slide_ms: 3_000 };
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
fn windows_that_no_machine_can_hold_are_refused() {
    let mut query = Query::defaults().remove(1);
    let huge =
        [(0, 0), (5, 0), (20_000_000, 1), (u64::MAX - u64::MAX % 5_000, u64::MAX / 5_000 * 5_000)];
    for (size_ms, slide_ms) in huge {
        query.window = Window::Sliding { size_ms, slide_ms };
        assert_eq!(query.problems().len(), 1, "{size_ms} by {slide_ms}");
    }
}
