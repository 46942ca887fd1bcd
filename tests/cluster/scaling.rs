//! Scaling by load: on CPU by a HorizontalPodAutoscaler, and on lag by KEDA where the cluster has it.

use pipeline_tests::{skip, within};
use serde_json::{Value, json};

use crate::kubectl::{apply_file, apply_overlay, attempt, await_ready, kubectl, pods};

/// Metrics come every 15 s or more slowly, and autoscalers look at them several times before they act.
const SOON: std::time::Duration = std::time::Duration::from_secs(300);

#[test]
fn the_analyzer_follows_its_cpu_load_up_and_down() {
    if !attempt(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]).status.success() {
        skip("scaling on CPU: this cluster has no metrics");
        return;
    }
    apply_overlay("test");
    await_ready("collector", 1);
    // The same rule with a target that a small load exceeds, and without the minutes of patience.
    let quick = json!({"spec": {
        "metrics": [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "AverageValue", "averageValue": "100m"},
        }}],
        "behavior": impatient(),
    }});
    kubectl(&["patch", "hpa", "analyzer", "--patch", &quick.to_string()]);
    await_ready("analyzer", 1);
    grow_under_load();
    within(SOON, "one analyzer without load", || (pods("analyzer").len() == 1).then_some(()));
}

#[test]
fn the_analyzer_follows_its_lag_up_and_down() {
    if !attempt(&["get", "--raw", "/apis/external.metrics.k8s.io/v1beta1"]).status.success() {
        skip("scaling on lag: KEDA is not in this cluster");
        return;
    }
    apply_overlay("test");
    await_ready("collector", 1);
    kubectl(&["delete", "hpa", "analyzer", "--ignore-not-found"]);
    apply_file("components/keda/scaledobject.yaml");
    apply_file("components/keda/network-policy.yaml");
    let quick = json!({"spec": {
        "pollingInterval": 2,
        "triggers": [{"type": "kafka", "metadata": {
            "bootstrapServers": "kafka.millrace:9092", "consumerGroup": "analyzer-tally",
            "topic": "raw-rsvps", "lagThreshold": "1000",
        }}],
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": impatient()}},
    }});
    kubectl(&["patch", "scaledobject", "analyzer", "--type=merge", "--patch", &quick.to_string()]);
    // Without an analyzer the lag grows; then there is one, which is slow to work it off.
    let limit = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "analyzer", "resources": {"limits": {"cpu": "20m"}, "requests": {"cpu": "10m"}}},
    ]}}}});
    kubectl(&["patch", "deployment", "analyzer", "--patch", &limit.to_string()]);
    kubectl(&["rollout", "status", "deployment/analyzer", "--timeout=120s"]);
    await_ready("analyzer", 1);
    grow_under_load();
    let no_limit = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "analyzer", "resources": {"limits": {"cpu": null}}},
    ]}}}});
    kubectl(&["patch", "deployment", "analyzer", "--patch", &no_limit.to_string()]);
    within(SOON, "one analyzer without a lag", || (pods("analyzer").len() == 1).then_some(()));
}

/// Removes pods at once when they are not needed, instead of one a minute after five.
fn impatient() -> Value {
    json!({"scaleDown": {
        "stabilizationWindowSeconds": 15,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
    }})
}

/// Sends many events until there is more than one analyzer.
fn grow_under_load() {
    let feed = |arguments: &[&str]| {
        let patch = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "simulator", "args": arguments},
        ]}}}});
        kubectl(&["patch", "deployment", "simulator", "--patch", &patch.to_string()]);
    };
    feed(&["simulate", "--listen=0.0.0.0:8900", "--rate=3000", "--seed=11"]);
    let grown = within(SOON, "more than one analyzer", || {
        let count = pods("analyzer").len();
        (count > 1).then_some(count)
    });
    println!("{grown} analyzers under load");
    feed(&["simulate", "--listen=0.0.0.0:8900", "--rate=1", "--seed=12"]);
}
