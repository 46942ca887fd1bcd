//! An Apache Kafka that asks for certificates and passwords, and what each principal may do in it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rdkafka::ClientConfig;
use tempfile::TempDir;

use crate::{
    authority::{Authority, Identity},
    broker::{Broker, kafka_files},
    free_port,
    sandbox::scratch,
};

/// The listeners for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Certificates of both sides, and a user with a password (SCRAM-SHA-512).
    Passwords,
    /// Certificates of both sides; the client's says who it is.
    Certificates,
    /// Its certificate has expired.
    Expired,
    /// Its certificate is for another host.
    OtherHost,
}

/// The broker, with the files of its certificates and of its clients' ones.
pub struct Secured {
    /// The broker itself; its `address` is the one that asks for nothing.
    pub broker: Broker,
    ports: [u16; 4],
    files: PathBuf,
    _directory: TempDir,
}

/// What one principal may do with one topic or group.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who.
    pub principal: String,
    /// `topic` or `group`.
    pub resource: String,
    /// The topic or group.
    pub name: String,
    /// As Kafka calls them.
    pub operations: Vec<String>,
}

impl Listener {
    const ALL: [Self; 4] = [Self::Passwords, Self::Certificates, Self::Expired, Self::OtherHost];

    const fn name(self) -> &'static str {
        match self {
            Self::Passwords => "CLIENT",
            Self::Certificates => "CERTIFICATES",
            Self::Expired => "EXPIRED",
            Self::OtherHost => "OTHERHOST",
        }
    }
}

impl Secured {
    /// Starts it with certificates of `authority`.
    pub fn start(authority: &Authority) -> Self {
        let (directory, files) = scratch();
        write_server(&files, authority);
        let ports = Listener::ALL.map(|_| free_port());
        let listeners = Listener::ALL.iter().zip(ports).skip(1);
        let listeners = listeners.map(|(one, port)| format!("{}://127.0.0.1:{port}", one.name()));
        // There it lets in anybody, as a super user: its own traffic, and the test's.
        let internal = format!("127.0.0.1:{}", free_port());
        let listeners = listeners.chain([format!("INTERNAL://{internal}")]).collect();
        let broker = Broker::start_with(ports[0], &internal, listeners, &properties(&files));
        Self { broker, ports, files, _directory: directory }
    }

    /// The folder of the files; a test may put more into it.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// Host and port of a listener.
    pub fn address(&self, listener: Listener) -> String {
        format!("127.0.0.1:{}", self.ports[listener as usize])
    }

    /// Gives the broker certificates of another authority, which alone it trusts from its next start on.
    pub fn renew(&self, authority: &Authority) {
        write_server(&self.files, authority);
    }

    /// Runs one of Kafka's own tools against it, as a super user.
    pub fn tool(&self, name: &str, arguments: &[&str]) {
        let mut tool = Command::new(kafka_files().join("tool"));
        tool.arg(name).args(["--bootstrap-server", &self.broker.address()]).args(arguments);
        let output = tool.output().expect("running a tool of Kafka");
        assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    }

    /// Makes a user, or changes its password.
    pub fn set_password(&self, user: &str, password: &str) {
        let config = format!("SCRAM-SHA-512=[iterations=4096,password={password}]");
        self.configure_user(user, &config);
    }

    /// Sets how many bytes a second this user may write.
    pub fn set_quota(&self, user: &str, bytes: u32) {
        self.configure_user(user, &format!("producer_byte_rate={bytes}"));
    }

    fn configure_user(&self, user: &str, config: &str) {
        let of = ["--entity-type", "users", "--entity-name", user];
        self.tool("kafka-configs.sh", &[&["--alter", "--add-config", config], &of[..]].concat());
    }

    /// Grants what `deploy/kafka/acls` prints.
    pub fn grant_all(&self) {
        let script = format!(
            "set -eu\nkafka-acls.sh() {{ '{0}/tool' kafka-acls.sh \"$@\" >/dev/null; }}\n\
             commands=$('{0}/acls' --bootstrap-server {1})\neval \"$commands\"",
            kafka_files().display(),
            self.broker.address()
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("running bash");
        assert!(output.status.success(), "{output:?}");
    }

    /// Settings of a client with this user and password, which has a certificate of `identity`.
    pub fn client(&self, user: &str, password: &str, identity: &Identity) -> ClientConfig {
        let mut client = self.with_certificate(Listener::Passwords, identity);
        client
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", user)
            .set("sasl.password", password);
        client
    }

    /// Settings of a client that shows a certificate and nothing else.
    pub fn with_certificate(&self, listener: Listener, identity: &Identity) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.address(listener))
            .set("security.protocol", "ssl")
            .set("ssl.ca.location", self.files.join("ca.pem").to_str().expect("text"))
            .set("ssl.certificate.pem", &identity.certificate)
            .set("ssl.key.pem", &identity.key);
        client
    }
}

/// What `deploy/kafka/acls` grants.
pub fn grants() -> Vec<Grant> {
    let output = Command::new(kafka_files().join("acls")).arg("--table").output();
    let output = String::from_utf8(output.expect("running acls").stdout).expect("text");
    let grant = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("four words at least");
        let (principal, resource, name) = (word(), word(), word());
        Grant { principal, resource, name, operations: words.collect() }
    };
    output.lines().map(grant).collect()
}

fn write_server(files: &Path, authority: &Authority) {
    let write =
        |name: &str, text: String| std::fs::write(files.join(name), text).expect("writing a file");
    let both = |identity: Identity| format!("{}{}", identity.key, identity.certificate);
    write("ca.pem", authority.pem());
    write("broker.pem", both(authority.issue("kafka", &["127.0.0.1"])));
    write("expired.pem", both(authority.issue_expired("kafka", &["127.0.0.1"])));
    write("other-host.pem", both(authority.issue("kafka", &["kafka.example.org"])));
}

fn properties(files: &Path) -> String {
    let files = files.display();
    format!(
        "listener.security.protocol.map=CLIENT:SASL_SSL,CERTIFICATES:SSL,EXPIRED:SSL,OTHERHOST:SSL,INTERNAL:PLAINTEXT,\
         CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=INTERNAL\n\
         sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.client.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/\n\
         ssl.client.auth=required\n\
         listener.name.client.ssl.client.auth=required\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={files}/ca.pem\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={files}/broker.pem\n\
         listener.name.expired.ssl.keystore.location={files}/expired.pem\n\
         listener.name.otherhost.ssl.keystore.location={files}/other-host.pem\n"
    )
}
