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
    std::fs::write(file.path(), layers::to_toml(&config).unwrap()).unwrap();
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
