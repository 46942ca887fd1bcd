use super::*;

const PAGE: &str = "\
Text with `kubectl get pods` and `two` spans.

```
first
```

<!-- not run: it needs a registry -->
```
second # why
third
```

```toml
key = 1
```
";

#[test]
fn a_block_without_a_language_is_a_script() {
    let page = Page::of(PAGE);
    let script = |line, text: &str, not_run: Option<&str>| Script {
        line,
        text: text.to_owned(),
        not_run: not_run.map(str::to_owned),
    };
    assert_eq!(
        page.scripts,
        [
            script(4, "first\n", None),
            script(9, "second # why\nthird\n", Some("it needs a registry")),
        ]
    );
    assert_eq!(page.spans, [(1, "kubectl get pods".to_owned()), (1, "two".to_owned())]);
}

#[test]
#[should_panic(expected = "line 2: no script right after")]
fn a_mark_stands_right_before_its_script() {
    Page::of("<!-- not run: it needs a registry -->\n\n```\nfirst\n```\n");
}

#[test]
#[should_panic(expected = "line 1: no reason")]
fn a_mark_has_a_reason() {
    Page::of("<!-- not run:  -->\n```\nfirst\n```\n");
}

#[test]
fn a_block_within_a_list_is_read_without_its_indentation() {
    let page =
        Page::of("1. First:\n\n   ```\n   first\n\n     second\n   ```\n\n2. Then `third`.\n");
    let text = "first\n\n  second\n".to_owned();
    assert_eq!(page.scripts, [Script { line: 4, text, not_run: None }]);
    assert_eq!(page.spans, [(9, "third".to_owned())]);
}

#[test]
#[should_panic(expected = "line 2: code that goes over two lines")]
fn code_within_lines_ends_on_its_line() {
    Page::of("Run `first` or\nalso `second and\nthird`, and then `fourth`.\n");
}

#[test]
fn commands_are_split_as_a_shell_does() {
    let words =
        |script: &str| commands(script).iter().map(|words| words.join("|")).collect::<Vec<_>>();
    assert_eq!(words("a b # c\nd 'e f' \"g; h\"\n"), ["a|b", "d|e f|g; h"]);
    assert_eq!(words("a \\\n  b && c | d; e & f\n"), ["a|b", "c", "d", "e", "f"]);
    assert_eq!(words("n=$(a b '{.c}')\nd \"$n\" x#y\n"), ["n=", "a|b|{.c}", "d|$n|x#y"]);
}
