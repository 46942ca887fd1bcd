use super::*;

fn fingerprint(change: impl FnOnce(&mut Query, &mut Settings)) -> Fingerprint {
    let (mut query, mut settings) = (Query::defaults().remove(1), Settings::default());
    change(&mut query, &mut settings);
    Plan::new(&[query], settings).unwrap().queries()[0].fingerprint
}

#[test]
fn a_fingerprint_changes_with_what_shapes_the_state_and_with_nothing_else() {
    let original = fingerprint(|_, _| {});
    assert_eq!(original, fingerprint(|query, _| query.n = 7));
    assert_eq!(original, fingerprint(|query, _| query.name = "other".to_owned()));
    assert_eq!(
        original,
        fingerprint(|query, _| query.capacity = Some(10_000)),
        "said or by default"
    );
    let others = [
        fingerprint(|query, _| query.item = "/group/group_city".parse().unwrap()),
        fingerprint(|query, _| query.window = Window::Running),
        fingerprint(|query, _| {
            query.window = Window::Sliding { size_ms: 1_800_000, slide_ms: 10_000 }
        }),
        fingerprint(|query, _| query.capacity = Some(200)),
        fingerprint(|_, settings| settings.capacity = 200),
        fingerprint(|_, settings| settings.schema.max_future = std::time::Duration::ZERO),
        fingerprint(|_, settings| settings.dedupe_horizon_ms = 1),
        fingerprint(|_, settings| settings.dedupe_capacity = 1),
        fingerprint(|_, settings| settings.schema.time = None),
    ];
    let different: HashSet<Fingerprint> = others.into_iter().collect();
    assert!(!different.contains(&original));
    // The two ways to set the capacity are the same setting.
    assert_eq!(different.len(), others.len() - 1);
}

#[test]
fn the_problems_of_all_queries_and_settings_are_told_at_once() {
    let mut queries = Query::defaults();
    queries[1].name = "topics".to_owned();
    queries[2].n = 0;
    let settings = Settings { dedupe_capacity: 0, capacity: 20, ..Settings::default() };
    let problems = Plan::new(&queries, settings).unwrap_err();
    let has = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert!(has("dedupe_capacity: must not be 0"), "{problems:#?}");
    assert!(has("query 'topics': name: used twice"), "{problems:#?}");
    assert!(has("query 'topics': n: is 50, more than capacity 20"), "{problems:#?}");
    assert!(has("query 'countries': n: is 0"), "{problems:#?}");
    assert!(!Plan::new(&[], Settings::default()).unwrap_err().is_empty());
}
