//! What `docs/capacity.md` shows of the model is what `deploy/capacity` computes.

use std::process::Command;

use pipeline_tests::page::Page;

use crate::workspace;

#[test]
fn the_page_about_capacity_shows_what_the_model_computes() {
    let text = std::fs::read_to_string(workspace().join("docs/capacity.md")).expect("a page");
    let page = Page::of(&text);
    let computed = page.scripts.iter().filter(|script| script.text.starts_with("deploy/capacity "));
    let mut seen = 0;
    for script in computed {
        let run =
            Command::new("bash").args(["-euc", &script.text]).current_dir(workspace()).output();
        let run = run.expect("running bash");
        assert!(run.status.success(), "{run:?}");
        let table = String::from_utf8_lossy(&run.stdout);
        assert!(
            text.contains(&*table),
            "docs/capacity.md, line {}: it is now\n{table}",
            script.line
        );
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} loads are computed");
}
