//! Events that are sent to the collectors through a Service, with TLS and a token.

use std::process::Command;

use pipeline_tests::{eventually, numbered::lines};
use serde_json::Value;

use crate::kubectl::{Forward, apply_overlay, await_ready, kubectl, make_push_secret, name};

const TOKEN: &str = "a-token-for-tests";

/// A client that trusts the authority of this file.
struct Client {
    authority: tempfile::NamedTempFile,
}

impl Client {
    /// Sends a request, and returns the status and the body of the answer.
    fn request(&self, url: &str, token: Option<&str>, body: Option<&str>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--write-out", "\n%{http_code}", "--cacert"]);
        curl.arg(self.authority.path()).arg(url);
        if let Some(token) = token {
            curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/x-ndjson", "--data-binary", body]);
        }
        let output = curl.output().expect("running curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status.parse().expect("a number"), body)
    }
}

#[test]
fn what_is_pushed_with_a_token_is_in_kafka_and_any_collector_says_so() {
    let authority = make_push_secret(&["collector-push", "127.0.0.1"], TOKEN);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), authority).expect("writing a certificate");
    let client = Client { authority: file };
    apply_overlay("test");
    kubectl(&["scale", "statefulset", "collector", "--replicas=2"]);
    kubectl(&["rollout", "status", "statefulset/collector", "--timeout=120s"]);
    // The kubelet takes a minute to give a running pod another Secret.
    kubectl(&["delete", "pod", "collector-0", "collector-1"]);
    let pods = await_ready("collector", 2);

    let service = Forward::to("service/collector-push", 443);
    let url = format!("https://127.0.0.1:{}/v1/events", service.port);
    let events = lines(9_000_000..9_000_100);
    let push = |token: Option<&str>| client.request(&url, token, Some(&events));
    assert_eq!([push(None).0, push(Some("another")).0], [401, 401]);
    let (status, answer) = push(Some(TOKEN));
    assert_eq!(status, 202, "{answer}");
    let ack = answer["ack"].as_str().expect("an acknowledgement");

    for pod in &pods {
        let forward = Forward::to(&format!("pod/{}", name(pod)), 8910);
        let url = format!("https://127.0.0.1:{}/v1/acks/{ack}", forward.port);
        eventually(&format!("{} says that it is in kafka", name(pod)), || {
            let (_, state) = client.request(&url, Some(TOKEN), None);
            (state["state"] == "in_kafka").then_some(())
        });
    }
    kubectl(&["scale", "statefulset", "collector", "--replicas=1"]);
    await_ready("collector", 1);
}
