use super::*;

#[test]
fn the_defaults_are_valid_and_have_the_shipped_queries() {
    let config = Config::default();
    assert_eq!(config.validate(), Ok(()));
    let names: Vec<_> = config.query.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["topics", "topics_30m", "countries"]);
    assert_eq!(config.capacity, 10_000);
}

#[test]
fn all_problems_are_reported_together_each_with_its_key() {
    let mut config = Config {
        instance_id: Some(" ".to_owned()),
        capacity: 0,
        emit_interval_ms: 0,
        snapshot_interval_ms: 5,
        snapshot_records: 0,
        dedupe_capacity: 0,
        ..Config::default()
    };
    config.kafka.brokers.clear();
    let Err(Invalid(problems)) = config.validate() else {
        panic!("the configuration is not valid")
    };
    for key in [
        "kafka.brokers",
        "emit_interval_ms",
        "snapshot_interval_ms",
        "snapshot_records",
        "instance_id",
        "capacity",
        "dedupe_capacity",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key} in {problems:?}");
    }
}

#[test]
fn two_queries_of_one_name_are_refused() {
    let mut config = Config::default();
    config.query.push(config.query[0].clone());
    let Err(Invalid(problems)) = config.validate() else {
        panic!("the configuration is not valid")
    };
    assert!(problems.iter().any(|problem| problem.contains("topics")), "{problems:?}");
}
