//! 200,000 events, while the pods that count them are killed, evicted, scaled and replaced.

use pipeline_tests::{oracle::Answer, recording::simulated, within};
use serde_json::{Value, json};

use crate::kubectl::{
    Forward, NAMESPACE, apply_overlay, attempt, await_ready, is_ready, kubectl, name, object, pods,
    restricted, uid, with_input,
};
use crate::seen::Seen;

/// Where the clients run: in a namespace without policies of its own.
pub const CLIENTS: &str = "millrace-clients";

/// How many dashboards watch.
const WATCHERS: usize = 20;

/// How long the feed and the counting may take.
const RUN: std::time::Duration = std::time::Duration::from_secs(900);

#[test]
fn counts_are_exact_while_pods_are_killed_evicted_scaled_and_replaced() {
    // Nothing of another test may be counted.
    kubectl(&["delete", "namespace", NAMESPACE, CLIENTS, "--ignore-not-found", "--wait"]);
    apply_overlay("test");
    within(RUN, "the topics", || {
        let job = object("job", "topics")?;
        (job["status"]["succeeded"] == 1).then_some(())
    });
    await_ready("collector", 1);
    await_ready("access-api", 1);
    start_watching();

    storm();
    assert!(truth().is_none(), "the feed ended before the storm did: send more events");

    let (sent, answer) = within(RUN, "the end of the feed", truth);
    println!("{sent} lines, {} mentions", answer.total());
    let seen = within(RUN, &format!("a total of {} for every client", answer.total()), || {
        let seen = seen()?;
        println!("{seen:?}");
        (seen.totals.get("topics") >= Some(&answer.total())).then_some(seen)
    });
    let pod = format!("pod/{}", name(&await_ready("access-api", 1)[0]));
    let result = Forward::to(&pod, 8080).get("/v1/queries/topics");
    let result: Value = serde_json::from_str(&result).expect("a published result");
    assert_eq!(result["total"], answer.total(), "{result}");
    assert_eq!(result["distinct"], answer.distinct(), "{result}");
    let top = result["top"].as_array().expect("a top");
    let top: Vec<(String, u64)> = top
        .iter()
        .map(|row| {
            assert_eq!(row["error"], 0, "{row}");
            let item = row["item"].as_str().expect("an item").to_owned();
            (item, row["count"].as_u64().expect("a count"))
        })
        .collect();
    assert!(!top.is_empty());
    assert_eq!(top, answer.top(top.len()));

    assert!(seen.results > 0);
    assert_eq!((seen.backwards, seen.gaps, seen.errors), (0, 0, 0), "{seen:?}");
    assert!(seen.byes >= WATCHERS as u64, "each drain tells its clients: {seen:?}");
    println!("{} connections broke with pods that were killed", seen.broken);
    assert!(seen.first_unexpected.is_none());
}

/// Everything that may happen to pods, one after the other, while events flow.
fn storm() {
    // They would undo what is done here.
    kubectl(&["delete", "hpa", "analyzer", "access-api"]);
    for tier in ["collector", "analyzer", "access-api"] {
        let pod = await_ready(tier, 1).remove(0);
        let volume = (tier == "collector").then(volume_of_collector);
        println!("kill {tier}");
        kubectl(&["delete", "pod", &name(&pod), "--grace-period=0", "--force"]);
        await_successor(tier, &pod);
        assert_eq!((tier == "collector").then(volume_of_collector), volume);

        let pod = await_ready(tier, 1).remove(0);
        println!("evict {tier}");
        evict(&name(&pod));
        await_successor(tier, &pod);
    }
    println!("delete kafka's pod");
    let kafka = await_ready("kafka", 1).remove(0);
    kubectl(&["delete", "pod", &name(&kafka)]);
    await_successor("kafka", &kafka);
    let scale = |tier: &str, kind: &str, count: usize| {
        println!("scale {tier} to {count}");
        kubectl(&["scale", kind, tier, &format!("--replicas={count}")]);
        await_ready(tier, count)
    };
    // The feed moves to another collector, and is there when that one is scaled away.
    let follower = scale("collector", "statefulset", 3).remove(0);
    println!("kill the collector that follows the feed");
    kubectl(&["delete", "pod", &name(&follower), "--grace-period=0", "--force"]);
    await_successor("collector", &follower);
    await_ready("collector", 3);
    scale("collector", "statefulset", 1);
    for (tier, counts) in [("analyzer", [4, 2]), ("access-api", [3, 1])] {
        for count in counts {
            scale(tier, "deployment", count);
        }
    }
    for (tier, object, count) in [
        ("collector", "statefulset/collector", 1),
        ("analyzer", "deployment/analyzer", 2),
        ("access-api", "deployment/access-api", 1),
    ] {
        println!("roll {tier} out");
        let image = format!("{tier}=localhost/millrace/{tier}:test-2");
        kubectl(&["set", "image", object, &image]);
        kubectl(&["rollout", "status", object, "--timeout=120s"]);
        let pods = await_ready(tier, count);
        let is_new = |pod: &Value| {
            let image = pod["spec"]["containers"][0]["image"].as_str();
            image.is_some_and(|image| image.ends_with(":test-2"))
        };
        assert!(pods.iter().all(is_new));
    }
}

/// What the feed has sent, once it has ended.
fn truth() -> Option<(u64, Answer)> {
    let log = kubectl(&["logs", "deployment/simulator", "--container=simulator"]);
    log.lines().find_map(|line| simulated(line.as_bytes()))
}

/// Waits until another pod has taken the place of this one.
fn await_successor(tier: &str, former: &Value) {
    within(RUN, &format!("another pod of {tier}"), || {
        pods(tier).into_iter().find(|pod| uid(pod) != uid(former) && is_ready(pod))
    });
}

fn volume_of_collector() -> String {
    let claim = object("pvc", "log-collector-0").expect("the collector's claim");
    claim["spec"]["volumeName"].as_str().expect("a bound claim").to_owned()
}

fn evict(pod: &str) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    });
    with_input(&["create", "--raw", &path, "--filename=-"], &eviction.to_string());
}

fn start_watching() {
    let address = format!("access-api.{NAMESPACE}:80");
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CLIENTS}},
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": "watch", "namespace": CLIENTS},
         "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "watch", "image": "localhost/millrace/cluster-client:test",
                "args": ["watch", address, WATCHERS.to_string(), "topics", "countries"],
                "securityContext": restricted(),
            }],
         }},
    ]});
    with_input(&["apply", "--filename=-"], &objects.to_string());
}

/// What the clients have seen up to now; `None` before they have started.
fn seen() -> Option<Seen> {
    let log = attempt(&["logs", "watch", "--namespace", CLIENTS, "--tail=1"]);
    serde_json::from_slice(&log.stdout).ok()
}
