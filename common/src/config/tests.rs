use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    service: Service,
    capacity: usize,
    instance_id: String,
    kafka: Section,
    query: Vec<Query>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    brokers: String,
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    name: String,
}

impl Default for Section {
    fn default() -> Self {
        Self { brokers: "localhost:9092".to_owned(), properties: BTreeMap::new() }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            service: Service::default(),
            capacity: 10_000,
            instance_id: String::new(),
            kafka: Section::default(),
            query: vec![Query { name: "topics".to_owned() }],
        }
    }
}

impl TierConfig for Sample {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        if self.capacity == 0 {
            problems.push("capacity: must be at least 1".to_owned());
        }
        Invalid::when_any(problems)
    }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn flags(set: &[&str]) -> Flags {
    Flags { set: set.iter().map(|&s| s.to_owned()).collect(), ..Flags::default() }
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file_which_wins_over_defaults() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "capacity = 1\ninstance_id = 'file'\n[kafka]\nbrokers = 'file:1'\n",
    )
    .unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..flags(&["kafka.brokers=flag:3"]) };
    let environment = environment(&[
        ("ACCESS_API__CAPACITY", "2"),
        ("ACCESS_API__KAFKA__BROKERS", "env:2"),
        ("OTHER__CAPACITY", "9"),
    ]);
    let config: Sample = load("access-api", &flags, &environment).unwrap();
    assert_eq!((config.capacity, config.instance_id.as_str()), (2, "file"));
    assert_eq!(config.kafka.brokers, "flag:3");
    assert_eq!(config.service, Service::default());
}

#[test]
fn what_is_dumped_loads_as_the_same_configuration() {
    let config: Sample =
        load("t", &flags(&["service.log_format=json", "capacity=7"]), &Environment::new()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), to_toml(&config).unwrap()).unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    assert_eq!(load::<Sample>("t", &flags, &Environment::new()).unwrap(), config);
}

#[test]
fn a_text_that_looks_like_a_number_may_be_given_to_a_text_key() {
    let config: Sample =
        load("t", &Flags::default(), &environment(&[("T__INSTANCE_ID", "7")])).unwrap();
    assert_eq!(config.instance_id, "7");
}

#[test]
fn an_error_names_the_layer_and_the_key() {
    let no_environment = Environment::new();
    let error =
        |flags: &Flags, env: &Environment| load::<Sample>("t", flags, env).unwrap_err().to_string();
    let text = error(&Flags::default(), &environment(&[("T__CAPACTY", "7")]));
    assert!(text.contains("T__CAPACTY") && text.contains("capacty"), "{text}");
    let text = error(&flags(&["capacity=many"]), &no_environment);
    assert!(text.contains("--set capacity") && text.contains("many"), "{text}");
    assert!(error(&flags(&["capacity"]), &no_environment).contains("KEY=VALUE"));
    assert!(error(&flags(&["capacity=0"]), &no_environment).contains("at least 1"));
    let missing = Flags { config: Some("no/such/file".into()), ..Flags::default() };
    assert!(error(&missing, &no_environment).contains("no/such/file"));
}

#[test]
fn an_array_of_tables_can_be_replaced_by_a_flag() {
    let config: Sample =
        load("t", &flags(&["query=[{name='a'},{name='b'}]"]), &Environment::new()).unwrap();
    assert_eq!(config.query.len(), 2);
}

/// Loads `text` as the file of the tier `t`; the error's text if it is refused.
fn from_file(text: &str) -> Result<Sample, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    load("t", &flags, &Environment::new()).map_err(|error| error.to_string())
}

#[test]
fn an_unknown_key_of_a_file_is_named_with_its_line_and_the_nearest_key() {
    let text = from_file("\n# a comment\ncapacty = 7\n").unwrap_err();
    assert!(text.contains("line 3") && text.contains("did you mean `capacity`?"), "{text}");
    let text = from_file("capacity = 7\n[kafka]\nbrokers = 'a:1'\nbrooker = 'b:1'\n").unwrap_err();
    assert!(text.contains("line 4") && text.contains("did you mean `brokers`?"), "{text}");
    let text = from_file("[[query]]\nname = 'a'\n[[query]]\nnme = 'b'\n").unwrap_err();
    assert!(text.contains("line 4") && text.contains("did you mean `name`?"), "{text}");
    let text = from_file("capacity = 'many'\n").unwrap_err();
    assert!(text.contains("line 1"), "{text}");
    let text = from_file("capacity = \n").unwrap_err();
    assert!(text.contains("line 1"), "{text}");
}

#[test]
fn each_tier_takes_the_keys_it_knows_from_a_shared_file_and_its_own_section_wins() {
    let file = "
        [kafka]
        brokers = 'shared:1'
        [kafka.properties]
        'sasl.password' = 'a'
        [event]
        id = '/id'
        [source.wikipedia]
        url = 'ws://feed/'
        [[query]]
        name = 'pages'
        [t]
        capacity = 9
        [t.kafka.properties]
        'sasl.username' = 'b'
        [analyzer]
        nothing = 'that t has'
    ";
    // Sections that the tier `t` does not have are ignored, and its own section wins.
    let sample = from_file(file).unwrap();
    assert_eq!((sample.capacity, sample.kafka.brokers.as_str()), (9, "shared:1"));
    assert_eq!(sample.kafka.properties.len(), 2, "tables are merged");
    assert_eq!(sample.query, [Query { name: "pages".to_owned() }]);
}

#[test]
fn a_key_at_the_top_of_a_shared_file_must_be_known_to_some_tier() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let sections = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        file::check_sections(file.path()).map_err(|error| error.to_string())
    };
    assert!(
        sections("[event]\nid = '/a'\n[analyzer]\nanything = 1\n").unwrap().contains_key("event")
    );
    let text = sections("[event]\nid = '/a'\n[evnt]\nid = '/b'\n").unwrap_err();
    assert!(text.contains("line 3") && text.contains("did you mean `event`?"), "{text}");
    let text = sections("capacity = 1\n").unwrap_err();
    assert!(text.contains("line 1") && text.contains("[analyzer]"), "{text}");
}

#[test]
fn a_flag_that_overrides_a_variable_is_reported() {
    let flags =
        Flags { brokers: Some("flag:1".to_owned()), ..flags(&["capacity=7", "instance_id=a"]) };
    let environment = environment(&[
        ("ACCESS_API__KAFKA__BROKERS", "env:1"),
        ("ACCESS_API__CAPACITY", "8"),
        ("ACCESS_API__INSTANCE_ID", "a"),
    ]);
    let told = overridden("access-api", &flags, &environment);
    assert_eq!(
        told,
        [
            "--brokers overrides ACCESS_API__KAFKA__BROKERS from the environment",
            "--set capacity overrides ACCESS_API__CAPACITY from the environment"
        ]
    );
}

#[test]
fn a_table_in_a_variable_adds_to_the_file_s_and_keeps_dots_in_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[kafka.properties]\n'a.b' = 'file'\n'c.d' = 'file'\n").unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    let environment = environment(&[("T__KAFKA__PROPERTIES", "{ \"a.b\" = \"env\" }")]);
    let sample: Sample = load("t", &flags, &environment).unwrap();
    let properties: Vec<_> = sample.kafka.properties.values().map(String::as_str).collect();
    assert_eq!(properties, ["env", "file"]);
}
