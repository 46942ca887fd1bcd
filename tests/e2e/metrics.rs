//! What the tiers serve on `/metrics`, against what `docs/metrics.md` lists.

use std::path::Path;
use std::process::Command;

use pipeline_tests::sandbox::scratch;
use pipeline_tests::{Sandbox, eventually, skip};

const TIERS: [&str; 3] = ["collector", "analyzer", "access-api"];

#[test]
fn every_tier_serves_the_metrics_that_are_documented_and_no_others() {
    let mut sandbox = Sandbox::builder().rate(500).start();
    sandbox.await_total("topics", 1);
    let (_directory, path) = scratch();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut check = Command::new(root.join("deploy/prometheus/check"));
    for tier in TIERS {
        eventually(&format!("{tier} is ready"), || {
            sandbox.admin(tier, "/ready").filter(|(status, _)| *status == 200)
        });
        let (_, text) = sandbox.admin(tier, "/metrics").expect("metrics");
        let prefix = format!("millrace_{}_condition{{", tier.replace('-', "_"));
        let conditions: Vec<_> = text.lines().filter(|line| line.starts_with(&prefix)).collect();
        assert!(conditions.len() > 2, "{tier}: {conditions:?}");
        assert!(conditions.iter().all(|line| line.ends_with(" 1")), "{tier}: {conditions:?}");
        let scrape = path.join(tier);
        std::fs::write(&scrape, text).expect("writing what was served");
        check.arg(scrape);
    }
    let checked = check.output().expect("running deploy/prometheus/check");
    let said = String::from_utf8_lossy(&checked.stderr);
    match checked.status.code() {
        Some(69) => skip(&format!("alerts and boards against docs/metrics.md: {said}")),
        code => assert_eq!(code, Some(0), "{said}"),
    }
    sandbox.stop();
}
