//! Events that are sent to the collectors through a Service, with TLS and a token.

use pipeline_tests::{eventually, numbered::lines};
use serde_json::Value;

use crate::kubectl::{Forward, apply_overlay, await_ready, kubectl, make_push_secret, name};

const TOKEN: &str = "a-token-for-tests";

#[test]
fn what_is_pushed_with_a_token_is_in_kafka_and_any_collector_says_so() {
    let authority = make_push_secret(&["collector-push", "127.0.0.1"], TOKEN);
    apply_overlay("test");
    kubectl(&["scale", "statefulset", "collector", "--replicas=2"]);
    kubectl(&["rollout", "status", "statefulset/collector", "--timeout=120s"]);
    // The kubelet takes a minute to give a running pod another Secret.
    kubectl(&["delete", "pod", "collector-0", "collector-1"]);
    let pods = await_ready("collector", 2);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let authority = reqwest::Certificate::from_pem(authority.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().add_root_certificate(authority).build();
    let client = client.expect("a client");

    let service = Forward::to("service/collector-push", 443);
    let url = format!("https://127.0.0.1:{}/v1/events", service.port);
    let push = |token: Option<&str>| {
        let request = client.post(&url).header("content-type", "application/x-ndjson");
        let request = request.body(lines(9_000_000..9_000_100));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        runtime.block_on(async {
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.bytes().await.expect("a body"))
        })
    };
    assert_eq!([push(None).0, push(Some("another")).0], [401, 401]);
    let (status, body) = push(Some(TOKEN));
    assert_eq!(status, 202);
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let ack = answer["ack"].as_str().expect("an acknowledgement");

    for pod in &pods {
        let forward = Forward::to(&format!("pod/{}", name(pod)), 8910);
        let url = format!("https://127.0.0.1:{}/v1/acks/{ack}", forward.port);
        eventually(&format!("{} says that it is in kafka", name(pod)), || {
            let request = client.get(&url).bearer_auth(TOKEN);
            let body = runtime.block_on(async { request.send().await?.bytes().await }).ok()?;
            let state: Value = serde_json::from_slice(&body).ok()?;
            (state["state"] == "in_kafka").then_some(())
        });
    }
    kubectl(&["scale", "statefulset", "collector", "--replicas=1"]);
    await_ready("collector", 1);
}
