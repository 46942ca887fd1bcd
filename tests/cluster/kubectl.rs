//! The cluster, as `kubectl` shows and changes it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use pipeline_tests::{
    authority::{Authority, Identity},
    eventually,
};
use serde_json::{Value, json};

/// Where the pipeline runs.
pub const NAMESPACE: &str = "millrace";

/// Runs `kubectl`, and returns what it prints; the test fails if it fails.
pub fn kubectl(arguments: &[&str]) -> String {
    let output = attempt(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {}: {stderr}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `kubectl`, which may fail.
pub fn attempt(arguments: &[&str]) -> Output {
    Command::new("kubectl")
        .args(["--namespace", NAMESPACE])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("running kubectl")
}

/// Runs `kubectl` with this text as its input, whose objects name their own namespaces.
pub fn with_input(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running kubectl");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("writing to kubectl");
    drop(stdin);
    let output = child.wait_with_output().expect("waiting for kubectl");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {}: {stderr}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Applies an overlay of `k8s/`.
pub fn apply_overlay(overlay: &str) {
    if object("secret", "collector-push").is_none() {
        make_push_secret(&["collector-push"], "nobody sends");
    }
    // A Job with another image cannot be changed.
    kubectl(&["delete", "job", "topics", "--ignore-not-found"]);
    apply(&format!("overlays/{overlay}"), "--kustomize");
}

/// Makes what the overlay `test` needs for events to be pushed: the namespace, and a Secret with a certificate for these hosts
/// and a token. Returns the certificate of its authority.
pub fn make_push_secret(hosts: &[&str], token: &str) -> String {
    let authority = Authority::new("millrace-test");
    let Identity { certificate, key } = authority.issue("collector-push", hosts);
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Secret",
         "metadata": {"name": "collector-push", "namespace": NAMESPACE},
         "stringData": {"tls.crt": certificate, "tls.key": key, "token": token}},
    ]});
    with_input(&["apply", "--filename=-"], &objects.to_string());
    authority.pem()
}

/// Applies a file below `k8s/`.
pub fn apply_file(path: &str) {
    apply(path, "--filename");
}

fn apply(path: &str, how: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s").join(path);
    let path = path.to_str().expect("the path is text");
    kubectl(&["apply", how, path, "--validate=strict"]);
}

/// What a container needs so that a namespace with the Pod Security standard `restricted` takes it.
pub fn restricted() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// An object as JSON, or `None` if there is none.
pub fn object(kind: &str, name: &str) -> Option<Value> {
    let output = attempt(&["get", kind, name, "--output=json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The pods of a tier that are not about to end, without those that nobody but a test has made.
pub fn pods(tier: &str) -> Vec<Value> {
    let selector = format!("app.kubernetes.io/name={tier}");
    let listed = kubectl(&["get", "pods", "--selector", &selector, "--output=json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let pods = listed["items"].as_array().expect("a list").clone();
    let counts = |pod: &Value| {
        let about = &pod["metadata"];
        about["deletionTimestamp"].is_null() && !about["ownerReferences"].is_null()
    };
    pods.into_iter().filter(counts).collect()
}

/// The name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// The unique id of an object.
pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("an id").to_owned()
}

/// Whether the pod can do its work.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// Waits until a tier has exactly this many pods, and all of them are ready. Returns them.
pub fn await_ready(tier: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} ready pods of {tier}"), || {
        let pods = pods(tier);
        (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
    })
}

/// A port of this machine that leads to one of a pod or Service.
pub struct Forward {
    child: Child,
    /// It stays open, because kubectl writes more to it, and a closed pipe would end it.
    _stdout: BufReader<ChildStdout>,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Forward {
    /// Opens it.
    pub fn to(target: &str, port: u16) -> Self {
        let mut child = Command::new("kubectl")
            .args(["--namespace", NAMESPACE, "port-forward", target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("running kubectl");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("reading from kubectl");
        let port = line.split_whitespace().find_map(|word| word.strip_prefix("127.0.0.1:"));
        let port = port.and_then(|port| port.parse().ok());
        Self {
            child,
            _stdout: stdout,
            port: port.unwrap_or_else(|| panic!("kubectl port-forward: {line}")),
        }
    }

    /// `GET path` through it.
    pub fn get(&self, path: &str) -> String {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        runtime.block_on(async {
            let answer = reqwest::get(url).await.expect("an answer");
            answer.text().await.expect("a body")
        })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
