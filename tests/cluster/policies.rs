//! Who may connect to whom: one pod for each edge that must be there, and for each that must not.

use pipeline_tests::{eventually, skip};
use serde_json::{Value, json};

use crate::kubectl::{self, apply_overlay, attempt, await_ready, kubectl, restricted, with_input};
use crate::storm::CLIENTS;

/// Where Prometheus would be.
const MONITORING: &str = "monitoring";

/// The label of the pods that a test makes.
const MARK: &str = "millrace-edge";

/// From a pod of this name in this namespace to this address: whether it may.
const EDGES: [(&str, &str, &str, bool); 21] = [
    ("collector", kubectl::NAMESPACE, "kafka-0.kafka:9092", true),
    ("collector", kubectl::NAMESPACE, "simulator:8900", true),
    ("collector", kubectl::NAMESPACE, "access-api:80", false),
    ("analyzer", kubectl::NAMESPACE, "kafka-0.kafka:9092", true),
    ("analyzer", kubectl::NAMESPACE, "simulator:8900", false),
    ("analyzer", kubectl::NAMESPACE, "collector-0.collector:9101", false),
    ("access-api", kubectl::NAMESPACE, "kafka-0.kafka:9092", true),
    ("access-api", kubectl::NAMESPACE, "simulator:8900", false),
    ("access-api", kubectl::NAMESPACE, "collector-0.collector:9101", false),
    ("topics", kubectl::NAMESPACE, "kafka-0.kafka:9092", true),
    ("topics", kubectl::NAMESPACE, "simulator:8900", false),
    ("simulator", kubectl::NAMESPACE, "kafka-0.kafka:9092", false),
    ("stranger", kubectl::NAMESPACE, "kafka-0.kafka:9092", false),
    ("stranger", kubectl::NAMESPACE, "access-api:80", false),
    ("stranger", CLIENTS, "access-api.millrace:80", true),
    ("stranger", CLIENTS, "collector-push.millrace:443", true),
    ("access-api", kubectl::NAMESPACE, "collector-push:443", false),
    ("stranger", CLIENTS, "kafka-0.kafka.millrace:9092", false),
    ("stranger", CLIENTS, "collector-0.collector.millrace:9101", false),
    ("prometheus", MONITORING, "collector-0.collector.millrace:9101", true),
    ("prometheus", MONITORING, "kafka-0.kafka.millrace:9092", false),
];

#[test]
fn a_pod_reaches_what_it_must_and_nothing_else() {
    apply_overlay("test");
    for tier in ["kafka", "simulator", "collector", "access-api"] {
        await_ready(tier, 1);
    }
    let namespaces = [CLIENTS, MONITORING]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let probes = EDGES.iter().enumerate().map(|(number, (from, namespace, to, _))| {
        // The labels are what a policy goes by. A Service that selects these pods for them sends nothing to them, unless it
        // also names pods that are not ready; the collector's does, which is why its pod is named above.
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("edge-{number}"), "namespace": namespace,
                "labels": {"app.kubernetes.io/name": from, MARK: "true"},
            },
            "spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false,
                "containers": [{
                    "name": "edge", "image": "localhost/millrace/cluster-client:test",
                    "args": ["connect", to], "securityContext": restricted(),
                    "readinessProbe": {"tcpSocket": {"port": 1}},
                }],
            },
        })
    });
    // Those of a run that failed.
    for namespace in [kubectl::NAMESPACE, CLIENTS, MONITORING] {
        let (selector, of) = (format!("--selector={MARK}"), format!("--namespace={namespace}"));
        kubectl(&["delete", "pod", &selector, &of]);
    }
    let items: Vec<Value> = namespaces.into_iter().chain(probes).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    with_input(&["apply", "--filename=-"], &list.to_string());

    let outcomes: Vec<bool> = EDGES
        .iter()
        .enumerate()
        .map(|(number, (_, namespace, ..))| {
            let pod = format!("edge-{number}");
            eventually(&format!("the end of {pod}"), || {
                let get = ["get", "pod", &pod, "--namespace", namespace, "--output=json"];
                let pod: Value = serde_json::from_slice(&attempt(&get).stdout).ok()?;
                match pod["status"]["phase"].as_str()? {
                    "Succeeded" => Some(true),
                    "Failed" => Some(false),
                    _ => None,
                }
            })
        })
        .collect();
    for (number, (_, namespace, ..)) in EDGES.iter().enumerate() {
        kubectl(&["delete", "pod", &format!("edge-{number}"), "--namespace", namespace]);
    }
    let forbidden = |(_, _, _, may): &(&str, &str, &str, bool)| !may;
    let reached =
        EDGES.iter().zip(&outcomes).filter(|(edge, reached)| forbidden(edge) && **reached);
    if reached.clone().count() == EDGES.iter().filter(|edge| forbidden(edge)).count() {
        skip("network policies: this cluster does not enforce them");
        return;
    }
    for (edge, reached) in EDGES.iter().zip(outcomes) {
        println!("{edge:?}: {reached}");
        assert_eq!(reached, edge.3, "{edge:?}");
    }
}
