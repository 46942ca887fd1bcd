use super::*;

/// What exists when a topic was created with these settings of `kafka`.
fn as_created(kafka: &Kafka, topic: Topic) -> Found {
    let partitions = usize::try_from(topic.partitions(kafka)).unwrap();
    let replicas = usize::try_from(kafka.replication.max(1)).unwrap();
    Found { partitions, replicas, settings: kafka.settings_of(topic), ..Found::default() }
}

fn with(topic: Topic, settings: &[(&str, &str)]) -> Found {
    let mut found = as_created(&Kafka::default(), topic);
    found.settings.extend(settings.iter().map(|&(key, value)| (key.into(), value.into())));
    found
}

fn unsuitable(topic: Topic, found: &Found) -> Option<String> {
    Kafka::default().unsuitable(topic, found).map(|error| error.to_string())
}

fn remedies(kafka: &Kafka, topic: Topic, found: &Found) -> Vec<Remedy> {
    kafka.differences(topic, Some(found)).into_iter().map(|difference| difference.remedy).collect()
}

#[test]
fn a_topic_as_it_was_created_does_not_differ() {
    let kafka = Kafka { replication: 3, ..Kafka::default() };
    for topic in Topic::ALL {
        assert_eq!(kafka.differences(topic, Some(&as_created(&kafka, topic))), Vec::new());
        let missing = kafka.differences(topic, None);
        assert!(matches!(&missing[..], [one] if one.remedy == Remedy::Create && one.unusable));
    }
}

#[test]
fn a_topic_with_the_wrong_policy_is_unsuitable_and_the_command_repairs_it() {
    for topic in [Topic::Partials, Topic::State, Topic::Results] {
        assert_eq!(unsuitable(topic, &with(topic, &[])), None);
        for wrong in ["delete", "compact,delete"] {
            let error = unsuitable(topic, &with(topic, &[("cleanup.policy", wrong)])).unwrap();
            let name = Kafka::default().name(topic).to_owned();
            let command = format!("--entity-name {name} --add-config cleanup.policy=compact");
            assert!(error.contains(&command), "{error}");
        }
    }
    for topic in [Topic::Raw, Topic::DeadLetters] {
        let error = unsuitable(topic, &with(topic, &[("cleanup.policy", "compact")])).unwrap();
        assert!(error.contains("cleanup.policy=delete"), "{error}");
    }
}

#[test]
fn acknowledgements_work_with_any_policy_and_are_given_their_own() {
    let set = |wanted: &str| Remedy::Set { key: "cleanup.policy".into(), value: wanted.into() };
    for other in ["delete", "compact"] {
        let found = with(Topic::Acks, &[("cleanup.policy", other)]);
        assert_eq!(unsuitable(Topic::Acks, &found), None);
        let remedies = remedies(&Kafka::default(), Topic::Acks, &found);
        assert_eq!(remedies, [set("compact,delete")]);
    }
}

#[test]
fn acknowledgements_that_are_kept_for_too_short_are_unsuitable_and_the_topic_is_given_its_retention()
 {
    let short = with(Topic::Acks, &[("retention.ms", "86400000")]);
    let error = unsuitable(Topic::Acks, &short).unwrap();
    assert!(error.contains("--add-config retention.ms=187200000"), "{error}");
    let set = Remedy::Set { key: "retention.ms".into(), value: "187200000".into() };
    assert_eq!(remedies(&Kafka::default(), Topic::Acks, &short), [set]);
    for fits in [
        &[("retention.ms", "187200000")][..],
        &[("retention.ms", "-1")],
        &[("retention.ms", "1"), ("cleanup.policy", "compact")],
    ] {
        assert_eq!(unsuitable(Topic::Acks, &with(Topic::Acks, fits)), None, "{fits:?}");
    }
    assert_eq!(unsuitable(Topic::Raw, &with(Topic::Raw, &[("retention.ms", "1")])), None);
}

#[test]
fn a_retention_of_acknowledgements_that_is_too_short_cannot_be_configured() {
    let problems = |value: &str| {
        let mut kafka = Kafka::default();
        kafka.settings.acks.insert("retention.ms".to_owned(), value.to_owned());
        kafka.problems().len()
    };
    assert_eq!(["86400000", "187199999"].map(problems), [1, 1]);
    assert_eq!(["187200000", "-1"].map(problems), [0, 0]);
}

#[test]
fn a_topic_that_cannot_be_written_to_is_unsuitable() {
    let error = unsuitable(Topic::Raw, &with(Topic::Raw, &[("min.insync.replicas", "2")])).unwrap();
    assert!(error.contains("min.insync.replicas=1"), "{error}");
    assert_eq!(unsuitable(Topic::Raw, &with(Topic::Raw, &[("min.insync.replicas", "1")])), None);
}

#[test]
fn results_need_one_partition_and_others_do_not() {
    let several = |topic| Found { partitions: 2, ..with(topic, &[]) };
    let error = unsuitable(Topic::Results, &several(Topic::Results)).unwrap();
    assert!(error.contains("--delete --topic topn-rsvps"), "{error}");
    assert_eq!(unsuitable(Topic::Raw, &several(Topic::Raw)), None);
}

#[test]
fn a_setting_that_is_not_known_is_not_held_against_the_topic_and_is_told() {
    let why = Some("not authorized".to_owned());
    let unread = Found { partitions: 4, replicas: 1, unread: why, ..Found::default() };
    assert_eq!(unsuitable(Topic::Raw, &unread), None);
    let told = Kafka::default().differences(Topic::Raw, Some(&unread));
    assert!(matches!(&told[..], [one] if one.what.contains("not authorized") && !one.unusable));

    let mut kafka = Kafka::default();
    kafka.settings.raw.insert("retention.mss".to_owned(), "1".to_owned());
    let told = kafka.differences(Topic::Raw, Some(&with(Topic::Raw, &[])));
    assert!(matches!(&told[..], [one] if one.what.contains("retention.mss")), "{told:?}");
}

#[test]
fn a_harmless_setting_is_changed_and_more_than_is_needed_is_left() {
    let kafka = Kafka::default();
    let found =
        with(Topic::State, &[("segment.ms", "604800000"), ("max.message.bytes", "1048576")]);
    let set = |key: &str, value: &str| Remedy::Set { key: key.into(), value: value.into() };
    let wanted = [set("segment.ms", "600000"), set("max.message.bytes", "8388608")];
    let found = remedies(&kafka, Topic::State, &found);
    assert!(found.len() == 2 && wanted.iter().all(|one| found.contains(one)), "{found:?}");
    let larger = with(Topic::State, &[("max.message.bytes", "99999999")]);
    assert_eq!(remedies(&kafka, Topic::State, &larger), []);
}

#[test]
fn what_would_lose_records_or_counts_is_left_to_a_person() {
    let mut kafka = Kafka { partitions: 8, replication: 3, ..Kafka::default() };
    kafka.settings.raw.insert("retention.ms".to_owned(), "1000".to_owned());
    let found = with(Topic::Raw, &[("retention.ms", "-1")]);
    let by_hand = remedies(&kafka, Topic::Raw, &found);
    for part in ["--partitions 8", "reassign", "retention.ms=1000"] {
        let named =
            |remedy: &&Remedy| matches!(remedy, Remedy::ByHand(command) if command.contains(part));
        assert!(by_hand.iter().any(|remedy| named(&remedy)), "{part}: {by_hand:?}");
    }
    assert_eq!(by_hand.len(), 3, "min.insync.replicas=2 with one replica would stop it");
    let longer = with(Topic::Raw, &[("retention.ms", "10")]);
    let set = Remedy::Set { key: "retention.ms".to_owned(), value: "1000".to_owned() };
    assert!(remedies(&kafka, Topic::Raw, &longer).contains(&set));
}

#[test]
fn a_setting_of_the_users_own_is_left_to_him_and_in_sync_replicas_are_only_raised() {
    let mut kafka = Kafka { replication: 3, ..Kafka::default() };
    let key = "unclean.leader.election.enable";
    kafka.settings.raw.insert(key.to_owned(), "true".to_owned());
    let mut found = as_created(&kafka, Topic::Raw);
    found.settings.insert(key.to_owned(), "false".to_owned());
    found.settings.insert("min.insync.replicas".to_owned(), "1".to_owned());
    let remedies = remedies(&kafka, Topic::Raw, &found);
    let raised = Remedy::Set { key: "min.insync.replicas".to_owned(), value: "2".to_owned() };
    assert!(remedies.contains(&raised), "{remedies:?}");
    assert!(
        remedies.iter().any(|one| matches!(one, Remedy::ByHand(command) if command.contains(key)))
    );

    found.settings.insert("min.insync.replicas".to_owned(), "4".to_owned());
    let too_many = kafka.differences(Topic::Raw, Some(&found));
    let about = too_many.iter().filter(|one| one.what.contains("min.insync")).count();
    assert_eq!(about, 1, "one remedy, not two that contradict each other: {too_many:?}");
}
