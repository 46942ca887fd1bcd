//! The commands of `docs/operations.md`, one block after the other, as a reader would paste them into a shell. A block that
//! cannot be run here says why in the page; see [`pipeline_tests::page`].

use std::{path::Path, process::Command};

use pipeline_tests::{binaries, eventually, page::Page};

use crate::kubectl::{Forward, NAMESPACE, attempt, kubectl, object};

/// How long one block may take: it waits for pods that drain, start and become ready.
const BLOCK_SECONDS: &str = "900";

#[test]
fn each_command_of_the_page_about_operations_works() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = repository.join("docs/operations.md");
    let page = Page::of(&std::fs::read_to_string(page).expect("docs/operations.md"));
    // The page begins without anything in the cluster.
    kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"]);
    let _schedulable = Schedulable;
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", binaries().display());

    let (last, others) = page.scripts.split_last().expect("a page with scripts");
    for script in others {
        println!("docs/operations.md, line {}", script.line);
        match &script.not_run {
            Some(reason) => println!("  not run: {reason}"),
            None => run(&repository, &path, script.line, &script.text),
        }
    }

    // What was scaled, drained, lost and restored still counts.
    let total = || {
        let result = Forward::to("service/access-api", 80).get("/v1/queries/topics");
        let result: serde_json::Value = serde_json::from_str(&result).ok()?;
        result["total"].as_u64()
    };
    let before = eventually("a result", total);
    eventually("a result that counts more", || (total()? > before).then_some(()));

    assert!(last.text.contains("delete"), "the page ends with how all of it is removed");
    run(&repository, &path, last.line, &last.text);
    assert!(object("namespace", NAMESPACE).is_none(), "everything is removed");
}

/// Runs a block in the folder of the repository, with the built programs on the PATH.
fn run(repository: &Path, path: &str, line: usize, script: &str) {
    print!("{script}");
    let status = Command::new("timeout")
        // A process that a failed block has left in the background would hold its port.
        .args([
            BLOCK_SECONDS,
            "bash",
            "-euc",
            &format!("trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n{script}"),
        ])
        .current_dir(repository)
        .env("PATH", path)
        .status()
        .expect("running bash");
    assert!(status.success(), "docs/operations.md, line {line}: {status}");
}

/// Lets pods onto every node again, also if the page's commands about a node failed half-way.
struct Schedulable;

impl Drop for Schedulable {
    fn drop(&mut self) {
        let nodes = attempt(&["get", "nodes", "--output=name"]);
        for node in String::from_utf8_lossy(&nodes.stdout).lines() {
            attempt(&["uncordon", node]);
        }
    }
}
