//! A Kafka that asks for certificates and passwords: the tiers work with the rights that `deploy/kafka/acls` grants, nobody
//! has more, a refusal says why, and credentials change without a loss.

use std::{
    collections::BTreeSet, fmt::Write as _, path::Path, process::Output, thread, time::Duration,
};

use pipeline_tests::{
    Sandbox,
    authority::{Authority, Identity},
    eventually,
    oracle::Oracle,
    recording,
    rights::{GROUP_OPERATIONS, Principal, TOPIC_OPERATIONS, longest_throttle},
    sandbox::{run, scratch},
    secured::{Grant, Listener, Secured, grants},
    topics::NAMES,
};

use crate::exact::TOP;

const TIERS: [&str; 3] = ["collector", "analyzer", "access-api"];

/// The files with what one client of Kafka authenticates with.
fn write_identity(files: &Path, identity: &Identity) {
    std::fs::write(files.join("client.pem"), &identity.certificate).expect("writing a certificate");
    std::fs::write(files.join("client.key"), &identity.key).expect("writing a key");
}

fn write_password(files: &Path, user: &str, password: &str) {
    std::fs::create_dir_all(files.join(user)).expect("a folder");
    std::fs::write(files.join(user).join("username"), user).expect("writing a name");
    std::fs::write(files.join(user).join("password"), format!("{password}\n"))
        .expect("writing a password");
}

/// A configuration with which each tier has its own user, and all have one certificate.
fn configuration(files: &Path) -> String {
    let shown = files.display();
    let mut text = format!(
        "[kafka.properties]\n\"security.protocol\" = \"sasl_ssl\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"ssl.ca.location\" = \"{shown}/ca.pem\"\n\"ssl.certificate.location\" = \"{shown}/client.pem\"\n\
         \"ssl.key.location\" = \"{shown}/client.key\"\n"
    );
    for tier in TIERS {
        let _ = write!(text, "[{tier}.kafka]\nproperty_files = {}\n", login(files, tier));
    }
    text
}

/// Where the name and the password of a user are, as TOML.
fn login(files: &Path, user: &str) -> String {
    let files = files.join(user);
    let shown = files.display();
    format!(
        "{{ \"sasl.username\" = \"{shown}/username\", \"sasl.password\" = \"{shown}/password\" }}"
    )
}

/// A broker with users, topics and rights, and a pipeline's configuration beside its files.
fn secured(authority: &Authority) -> Secured {
    let secured = Secured::start(authority);
    let files = secured.files();
    thread::scope(|scope| {
        scope.spawn(|| secured.grant_all());
        for user in TIERS.into_iter().chain(["topics"]) {
            write_password(files, user, "first");
            secured.set_password(user, "first");
        }
    });
    write_identity(files, &authority.issue("millrace", &[]));
    std::fs::write(files.join("millrace.toml"), configuration(files)).expect("writing a file");
    let made = apply_topics(&secured, "topics");
    assert!(made.status.success(), "{made:?}");
    secured
}

/// Runs `millrace topics apply` as this user.
fn apply_topics(secured: &Secured, user: &str) -> Output {
    let brokers = secured.address(Listener::Passwords);
    let config = secured.files().join("millrace.toml");
    let config = config.to_str().expect("text");
    let login = login(secured.files(), user);
    let apply = ["topics", "apply", "--config", config, "--brokers", &brokers];
    let environment = [("TOPICS__KAFKA__PROPERTY_FILES", login.as_str())];
    run("millrace", &apply, &environment)
}

fn start(secured: &Secured, recording: &Path, rate: u32) -> Sandbox {
    Sandbox::builder()
        .brokers(&secured.address(Listener::Passwords))
        .argument("--config")
        .argument(secured.files().join("millrace.toml"))
        .recording(recording)
        .rate(rate)
        .start()
}

fn assert_exact(sandbox: &mut Sandbox, truth: &Oracle) {
    let topics = truth.topics();
    sandbox.await_total("topics", topics.total()).assert_exact(&topics, TOP);
    let countries = truth.countries();
    sandbox.await_total("countries", countries.total()).assert_exact(&countries, TOP);
}

#[test]
fn each_tier_works_with_the_rights_that_are_granted_to_it_and_nobody_has_more() {
    let authority = Authority::new("millrace test");
    let secured = secured(&authority);
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 4_000, 21);
    let mut sandbox = start(&secured, &path, 4_000);
    assert_exact(&mut sandbox, &Oracle::of(recording::lines(&path)));
    let refused = sandbox.log().lines().filter(|line| line.contains("uthorization")).count();
    assert_eq!(refused, 0, "{}", sandbox.log());
    assert!(sandbox.stop().status.success());

    // Somebody who may look and not change. The client library does not tell that Kafka refused; the command finds it out.
    write_password(secured.files(), "reader", "first");
    secured.set_password("reader", "first");
    let look = ["--operation", "Describe", "--operation", "DescribeConfigs", "--topic", "*"];
    let reader = ["--add", "--allow-principal", "User:reader"];
    secured.tool("kafka-acls.sh", &[&reader[..], &look[..]].concat());
    secured.broker.alter_topic("topn-rsvps-state", &[("segment.ms", "3600000")]);
    let refused = apply_topics(&secured, "reader");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(said.contains("did not change the settings of the topic topn-rsvps-state"), "{said}");

    // Somebody who is known and has no rights, and a topic and a group that belong to others.
    secured.set_password("stranger", "first");
    secured.broker.create_topic("others", 1);
    let identity = authority.issue("millrace", &[]);
    let granted = grants();
    let principals = TIERS.into_iter().chain(["topics", "stranger"]);
    let principals: Vec<_> = principals
        .map(|name| (name, Principal::new(secured.client(name, "first", &identity))))
        .collect();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (name, principal) in &principals {
        let topics = NAMES
            .into_iter()
            .chain(["others"])
            .map(|topic| ("topic", topic, &TOPIC_OPERATIONS[..]));
        let groups =
            ["collector", "analyzer-tally", "analyzer-merge", "millrace-no-group", "others"];
        let groups = groups.into_iter().map(|group| ("group", group, &GROUP_OPERATIONS[..]));
        for (resource, of, operations) in topics.chain(groups) {
            for &operation in operations {
                let allowed = is_granted(&granted, name, resource, of, operation);
                tried += 1;
                if principal.may(operation, resource, of) != allowed {
                    wrong.push(format!("{name} {operation} {resource} {of}: should be {allowed}"));
                }
            }
        }
    }
    assert_eq!((wrong, tried), (Vec::<String>::new(), 5 * (8 * 7 + 5 * 3)));

    let retention = |topic: &str| secured.broker.setting(topic, "retention.ms");
    let before = retention("others");
    for (name, principal) in &principals {
        for topic in NAMES.into_iter().chain(["others"]) {
            let is_allowed = is_granted(&granted, name, "topic", topic, "AlterConfigs");
            let ms = if is_allowed { "1111111111" } else { "2222222222" };
            principal.set_retention(topic, ms);
            if is_allowed {
                eventually("the new retention", || (retention(topic) == ms).then_some(()));
            }
        }
    }
    assert_eq!(NAMES.map(retention), NAMES.map(|_| "1111111111".to_owned()));
    assert_eq!(retention("others"), before);

    // A certificate names the principal at the other listener.
    let collector = authority.issue("collector", &[]);
    let collector = Principal::new(secured.with_certificate(Listener::Certificates, &collector));
    assert!(
        collector.may("Write", "topic", "raw-rsvps")
            && !collector.may("Read", "topic", "topn-rsvps")
    );
}

fn is_granted(
    granted: &[Grant],
    principal: &str,
    resource: &str,
    name: &str,
    operation: &str,
) -> bool {
    granted.iter().any(|grant| {
        (grant.principal == principal && grant.resource == resource && grant.name == name)
            && grant.operations.iter().any(|one| one == operation)
    })
}

#[test]
fn the_users_of_the_overlay_for_production_have_the_rights_that_acls_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/overlays/prod/kafka-users.yaml");
    let text = std::fs::read_to_string(path).expect("the users of the overlay");
    let mut users = BTreeSet::new();
    for user in text.split("\n---\n") {
        let after = |line: &str, part: &str| line.split_once(part).map(|(_, rest)| rest.to_owned());
        let name = user.lines().find_map(|line| after(line, "  name: ")).expect("a name");
        let mut of = None;
        for line in user.lines() {
            if let Some(resource) = after(line, "resource: {type: ") {
                let mut words =
                    resource.split([',', ' ', ':', '}']).filter(|word| !word.is_empty());
                let kind = words.next().expect("a type").to_owned();
                of = Some((kind, words.nth(1).expect("a name").to_owned()));
            } else if let (Some(operations), Some((kind, of))) = (after(line, "operations: ["), &of)
            {
                for operation in operations.trim_end_matches(']').split(", ") {
                    users.insert(format!("{name} {kind} {of} {operation}"));
                }
            }
        }
    }
    let all: BTreeSet<_> = grants()
        .iter()
        .flat_map(|grant| {
            let Grant { principal, resource, name, operations } = grant;
            operations
                .iter()
                .map(|one| format!("{principal} {resource} {name} {one}"))
                .collect::<Vec<_>>()
        })
        .collect();
    let is_tier = |line: &&String| TIERS.iter().any(|tier| line.starts_with(&format!("{tier} ")));
    assert_eq!(
        users.iter().filter(is_tier).collect::<Vec<_>>(),
        all.iter().filter(is_tier).collect::<Vec<_>>()
    );
    // There the operator of Kafka makes the topics, and Millrace only looks whether they are as they must be.
    let looks = users.iter().filter(|line| line.starts_with("topics "));
    assert!(
        looks.clone().count() == 2 * NAMES.len() && looks.clone().all(|line| all.contains(line))
    );
}

/// `millrace topics diff` with these properties.
fn diff(brokers: &str, properties: &[(&str, &str)]) -> Output {
    let properties: Vec<_> =
        properties.iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"")).collect();
    let set = format!("kafka.properties={{ {} }}", properties.join(", "));
    run(
        "millrace",
        &["topics", "diff", "--brokers", brokers, "--timeout", "4s", "--set", &set],
        &[],
    )
}

#[test]
fn a_refused_connection_says_what_is_wrong() {
    let (authority, other) = (Authority::new("millrace test"), Authority::new("another"));
    let secured = Secured::start(&authority);
    let files = secured.files();
    let write = |name: &str, text: &str| {
        std::fs::write(files.join(name), text).expect("writing a file");
        files.join(name).to_str().expect("text").to_owned()
    };
    let file = |name: &str| files.join(name).to_str().expect("text").to_owned();
    let identity = |name: &str, identity: &Identity| {
        (
            write(&format!("{name}.pem"), &identity.certificate),
            write(&format!("{name}.key"), &identity.key),
        )
    };
    let (ca, other_ca) = (file("ca.pem"), write("other-ca.pem", &other.pem()));
    let good = identity("good", &authority.issue("topics", &[]));
    let expired = identity("expired-client", &authority.issue_expired("topics", &[]));
    let foreign = identity("foreign", &other.issue("topics", &[]));
    let tls = |ca: &str, (certificate, key): &(String, String)| {
        [
            ("security.protocol", "ssl"),
            ("ssl.ca.location", ca),
            ("ssl.certificate.location", certificate),
            ("ssl.key.location", key),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec()
    };
    let password = |mut of: Vec<(&'static str, String)>| {
        of[0].1 = "sasl_ssl".to_owned();
        let login = [
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "topics"),
            ("sasl.password", "s3cret"),
        ];
        of.extend(login.map(|(key, value)| (key, value.to_owned())));
        of
    };
    let authority_file = format!("an authority of ssl.ca.location ({other_ca})");
    let own = "Kafka does not accept this client's certificate";
    let cases = [
        (Listener::Expired, tls(&ca, &good), "the broker's certificate has expired"),
        (
            Listener::OtherHost,
            tls(&ca, &good),
            "the broker's certificate is not for the host 127.0.0.1",
        ),
        (Listener::Certificates, tls(&other_ca, &good), &authority_file),
        (Listener::Certificates, tls(&ca, &expired), own),
        (Listener::Certificates, tls(&ca, &foreign), own),
        (
            Listener::Passwords,
            password(tls(&ca, &good)),
            "Kafka does not know this user, or not with this password",
        ),
        (Listener::Passwords, Vec::new(), "check the port in kafka.brokers, and security.protocol"),
    ];
    thread::scope(|scope| {
        for (listener, properties, sentence) in &cases {
            let brokers = secured.address(*listener);
            scope.spawn(move || {
                let properties: Vec<_> =
                    properties.iter().map(|(key, value)| (*key, value.as_str())).collect();
                let output = diff(&brokers, &properties);
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(69), "{said}");
                assert!(said.contains(sentence), "{listener:?} should say '{sentence}': {said}");
                assert!(!said.contains("s3cret"), "{said}");
            });
        }
    });
}

#[test]
fn a_greedy_principal_is_slowed_down_and_the_others_are_not() {
    let authority = Authority::new("millrace test");
    let secured = secured(&authority);
    secured.set_quota("collector", 100_000);
    let identity = authority.issue("millrace", &[]);
    let throttled = |user: &str, topic: &str| {
        let client = secured.client(user, "first", &identity);
        longest_throttle(client, topic, 2_000_000)
    };
    assert!(throttled("collector", "raw-rsvps") > Duration::ZERO);
    assert_eq!(throttled("analyzer", "topn-rsvps"), Duration::ZERO);
}

#[test]
fn certificates_and_passwords_change_under_load_and_nothing_is_lost() {
    let authority = Authority::new("millrace test");
    let mut secured = secured(&authority);
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 40_000, 22);
    let truth = Oracle::of(recording::lines(&path));
    let part = |percent| truth.topics().total() * percent / 100;
    let mut sandbox = start(&secured, &path, 1_500);
    let said = |sandbox: &mut Sandbox, what: &str, times: usize| {
        eventually(&format!("every tier says: {what}"), || {
            sandbox.assert_running();
            (sandbox.log().matches(what).count() >= times).then_some(())
        });
    };

    sandbox.await_total("topics", part(15));
    let pids = TIERS.map(|tier| sandbox.process(tier).pid);
    for tier in TIERS {
        secured.set_password(tier, "second");
        write_password(secured.files(), tier, "second");
    }
    said(&mut sandbox, "credentials for kafka have changed", 3);
    // Only after a restart of the broker everybody has to authenticate again.
    secured.broker.kill();
    secured.broker.start_again();

    sandbox.await_total("topics", part(50));
    let next = Authority::new("the next one");
    let identity = next.issue("millrace", &[]);
    secured.renew(&next);
    let certificate = secured.files().join("client.pem");
    std::fs::write(certificate, &identity.certificate).expect("writing a certificate");
    said(&mut sandbox, "the changed credentials for kafka cannot be used yet", 3);
    write_identity(secured.files(), &identity);
    secured.broker.kill();
    secured.broker.start_again();
    said(&mut sandbox, "credentials for kafka have changed", 6);

    assert_exact(&mut sandbox, &truth);
    assert_eq!(TIERS.map(|tier| sandbox.process(tier).pid), pids, "no tier was restarted");
    assert!(sandbox.stop().status.success());
}
