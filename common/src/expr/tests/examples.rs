use std::fmt::Write as _;

use super::*;

const EVENT: &str = r#"{
    "type": "match", "price": "6512.31", "age": 25, "ok": true, "none": null, "empty": [],
    "group": {"group_country": "us", "group_topics": [{"topic_name": "Rust"}, {"topic_name": "Kafka"}, {"x": 1}]},
    "tags": ["rust-lang", 7, null], "coords": [13.4, 52.5], "odd name": {"x": "y"},
    "big": 9007199254740993, "text": "a\u0041\n\ud83d\ude00\ud800", "a": 10, "b": 4
}"#;

#[test]
fn conditions_give_what_the_manual_says() {
    let (yes, no, null) = (Some(true), Some(false), None);
    for (condition, expected) in [
        ("type = 'match' AND price > 0", yes),
        ("type <> 'match' or price > 7000", no),
        ("price BETWEEN 6512.31 AND 6512.31", yes),
        ("age NOT BETWEEN 20 AND 30", no),
        ("bucket(age, 20, 30, 40) = '20-30'", yes),
        ("group.group_country IN ('us','de')", yes),
        ("/group/group_country not in ('us','de')", no),
        ("tags[*] LIKE 'rust%'", yes),
        ("NOT tags[*] LIKE 'rust%'", no),
        ("tags[*] NOT LIKE 'rust%'", no),
        ("tags[*] = 7", yes),
        ("tags[*] IS NULL", yes),
        ("tags[*] IS NOT NULL", yes),
        ("group.group_topics[*].topic_name = 'Kafka'", yes),
        ("/group/group_topics/*/topic_name = 'Kafka'", yes),
        ("lower(/group/group_topics/*/topic_name) = 'rust'", yes),
        ("NOT (group.group_topics[*].topic_name = 'Go')", yes),
        ("group.group_topics[2].x = 1 AND coords[1] > 52", yes),
        ("coords[2] > 52", null),
        ("empty[*] = 'x'", no),
        ("empty[*] <> 'x'", no),
        ("NOT empty[*] = 'x'", yes),
        ("empty[*] IS NULL", yes),
        ("empty[*] IS NOT NULL", no),
        ("empty[*] IS NOT TRUE", yes),
        ("empty IS NOT NULL AND group IS NOT NULL", yes),
        ("empty = 'x'", null),
        (r#""odd name".x = 'y'"#, yes),
        ("ok", yes),
        ("ok = TRUE AND NOT ok = false", yes),
        ("ok IS TRUE AND type IS NOT TRUE AND none IS NOT FALSE", yes),
        ("none = 1", null),
        ("none = 1 OR ok", yes),
        ("none = 1 AND NOT ok", no),
        ("none = 1 AND ok", null),
        ("NOT missing = 1", null),
        ("missing IS NULL AND none IS NULL", yes),
        ("type > 5", null),
        ("ok > 5", null),
        ("type NOT IN ('a', 5)", null),
        ("age IN (1, -2, 25.0)", yes),
        ("length(type) = 5 AND length(age) IS NULL", yes),
        ("a / b = 2.5 AND a % b = 2 AND a - b = 6 AND a + b * 2 = 18 AND -a < 0", yes),
        ("a / (b - 4) IS NULL AND a % 0 IS NULL", yes),
        ("price * 2 > 13000", yes),
        ("(a > 1) = (b > 1)", yes),
        ("text = 'aA\n\u{1f600}\u{fffd}'", yes),
    ] {
        assert_eq!(truth(condition, EVENT), expected, "{condition}");
    }
}

#[test]
fn values_are_what_the_manual_says() {
    for (expr, expected) in [
        ("bucket(age, 20, 30, 40)", &[r#""20-30""#] as &[&str]),
        ("bucket(age, 26)", &[r#""<26""#]),
        ("bucket(age, -10, 25)", &[r#"">=25""#]),
        ("bucket(price, 0.5, 1e4)", &[r#""0.5-10000""#]),
        ("bucket(type, 1)", &["null"]),
        ("lower('ÄB')", &[r#""äb""#]),
        ("length('äb')", &["2"]),
        ("group", &["…"]),
        ("tags[*]", &[r#""rust-lang""#, "7", "null"]),
        ("empty[*]", &[]),
        ("coords[*] * 2", &["26.8", "105"]),
        ("tags[*] = 7", &["true"]),
        ("NULL", &["null"]),
        ("a + 0.5", &["10.5"]),
        ("9223372036854775807 + 1", &["9223372036854775808"]),
        ("-9223372036854775808", &["-9223372036854775808"]),
        ("18446744073709551615 + 1", &["18446744073709552000"]),
        ("1e308 * 10", &["null"]),
        ("7 / 2 * 2", &["7"]),
        ("-7 % 4", &["-3"]),
    ] {
        assert_eq!(values(expr, EVENT), expected, "{expr}");
    }
    let expr = Expr::parse("tags[*]").unwrap();
    let mut slots = Slots::default();
    let row = slots.fill(expr.paths(), EVENT.as_bytes()).unwrap();
    assert!(expr.has_every());
    assert_eq!(expr.value(&row), Scalar::Text("rust-lang".into()));
}

#[test]
fn integers_of_64_bits_are_compared_exactly() {
    let max = format!(r#"{{"n":{},"u":{},"f":9007199254740992.0}}"#, i64::MIN, u64::MAX);
    for (condition, payload, expected) in [
        ("big = 9007199254740993", EVENT, true),
        ("big = 9007199254740992", EVENT, false),
        ("big > 9007199254740992.0", EVENT, true),
        ("f = 9007199254740992", &max, true),
        ("f < 9007199254740993", &max, true),
        ("n = -9223372036854775808", &max, true),
        ("n < -9223372036854775807.0", &max, false),
        ("u = 18446744073709551615", &max, true),
        ("u < 18446744073709551616", &max, true),
        ("u > 9223372036854775807", &max, true),
        ("u > n", &max, true),
        ("n > -1e300 AND u < 1e300", &max, true),
    ] {
        assert_eq!(truth(condition, payload), Some(expected), "{condition}");
    }
}

#[test]
fn a_text_is_compared_with_a_number_if_it_writes_one() {
    for (text, number, expected) in [
        ("6512.31", "6512.31", Some(true)),
        ("-0", "0", Some(true)),
        ("1e3", "1000", Some(true)),
        ("9007199254740993", "9007199254740992", Some(false)),
        (" 1", "1", None),
        ("+1", "1", None),
        ("1.", "1", None),
        (".5", "0.5", None),
        ("0x10", "16", None),
        ("NaN", "1", None),
        ("inf", "1", None),
        ("1e999", "1", None),
        ("", "0", None),
    ] {
        let payload = format!(r#"{{"x":"{text}"}}"#);
        assert_eq!(truth(&format!("x = {number}"), payload), expected, "{text}");
    }
}

#[test]
fn a_slash_is_a_pointer_where_an_operand_is_expected_and_a_division_elsewhere() {
    let event = r#"{"a":8,"b":2,"a-b":5,"/":3,"*":{"c":1},"l":[{"v":4}],"in":6}"#;
    for (expr, expected) in [
        ("/a/b", "null"),
        ("/a /b", "4"),
        ("a/b", "4"),
        ("a / b", "4"),
        ("a//b", "4"),
        ("/a / /b", "4"),
        ("(a)/b", "4"),
        ("/a-b", "5"),
        ("/a - /b", "6"),
        ("/~1", "3"),
        ("/l/*/v", "4"),
        ("l[0].v/b", "2"),
        ("8/b", "4"),
        ("length('ab')/b", "1"),
        ("-/b", "-2"),
        ("\"in\"/b", "3"),
        ("a IN (8)", "true"),
        ("/l/*/v > 3 AND /a = 8", "true"),
        ("a BETWEEN /b AND /a", "true"),
    ] {
        assert_eq!(values(expr, event), [expected], "{expr}");
    }
}

#[test]
fn words_of_sql_that_are_operators_are_paths_in_quotes_or_after_a_dot() {
    let event = r#"{"and":1,"x":{"not":2,"$type":"p"},"select":3,"group":4,"order":5,"end":6,"date":7,"n":8}"#;
    let condition = r#""and" = 1 AND x.not = 2 AND x.$type = 'p' AND "select" = 3 AND group = 4 AND order = 5
        AND end = 6 AND date = 7 AND n = 8 AND x.not/2 = 1"#;
    assert_eq!(truth(condition, event), Some(true));
}

#[test]
fn each_path_has_one_slot_in_the_order_of_the_text() {
    let condition =
        Condition::parse("b.c = 1 AND /a/*/x = 2 AND /b/c = 3 AND a[*].x = 4 AND a[0].x = 1")
            .unwrap();
    let paths: Vec<_> = condition.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["b.c", "a[*].x", "a[0].x"]);
    let event = r#"{"a":[{"x":1},{"x":2},{"x":4}],"b":{"c":1}}"#;
    assert_eq!(truth("a[*].x = 4 AND a[0].x = 1 AND a[*].x = 2 AND b.c = 1", event), Some(true));
}

#[test]
fn what_is_no_event_is_neither_true_nor_false() {
    for payload in [
        "",
        "{",
        "{\"a\":1}x",
        "{\"a\":1,\"b\":01}",
        "{\"a\":1,\"a\":1}",
        "{\"b\":\"\\x\",\"a\":1}",
    ] {
        assert_eq!(truth("a = 1", payload), None, "{payload}");
        assert_eq!(truth("a IS NULL", payload), None, "{payload}");
    }
    assert_eq!(truth("a = 1", b"{\"a\":1,\"b\":\"\xff\"}"), None);
    // A name that no path asks for may be there twice.
    assert_eq!(truth("a = 1", r#"{"a":1,"b":1,"b":1}"#), Some(true));
    assert_eq!(truth("a = 1", "\u{feff}{\"\\u0061\":1}"), Some(true));
    assert_eq!(truth("[*].x = 2", r#"[{"x":1},{"x":2}]"#), Some(true));
}

#[test]
fn elements_above_the_bound_are_not_looked_at() {
    let mut event = String::from("{\"a\":[");
    for n in 0..2 * MAX_ELEMENTS {
        let _ = write!(event, "{}{n}", if n == 0 { "" } else { "," });
    }
    event.push_str("]}");
    assert_eq!(truth(&format!("a[*] = {}", MAX_ELEMENTS - 1), &event), Some(true));
    assert_eq!(truth(&format!("a[*] = {MAX_ELEMENTS}"), &event), Some(false));
    assert_eq!(truth(&format!("a[{MAX_ELEMENTS}] = {MAX_ELEMENTS}"), &event), Some(true));
}

#[test]
fn slots_that_were_used_for_another_expression_hold_nothing_of_it() {
    let mut slots = Slots::default();
    let first = Condition::parse("a = 1 AND b = 'x\n' AND c[*] = 1").unwrap();
    let second = Condition::parse("b = 1").unwrap();
    assert_eq!(first.holds(br#"{"a":1,"b":"x\n","c":[1]}"#, &mut slots), Some(true));
    assert_eq!(second.holds(br#"{"a":1}"#, &mut slots), None);
    assert_eq!(second.holds(b"[", &mut slots), None);
    assert_eq!(first.holds(br#"{"a":1,"b":"x\n"}"#, &mut slots), Some(false));
}

#[test]
fn a_condition_is_a_string_in_a_configuration_whose_error_is_its_sentence() {
    #[derive(Debug, Deserialize, Serialize)]
    struct Section {
        keep: Condition,
    }
    let section: Section = toml::from_str("keep = \"a=1 and(b)\"").unwrap();
    assert_eq!(toml::to_string(&section).unwrap(), "keep = \"a = 1 AND b\"\n");
    let error = toml::from_str::<Section>("keep = \"foo(a)\"").unwrap_err().to_string();
    assert!(error.contains("line 1, column 1: there is no function 'foo'"), "{error}");
}

#[test]
fn a_part_of_a_statement_is_an_expression() {
    let sql = Sql::read(
        "SELECT *, item FROM topics AS t WHERE /tags/* LIKE 'a%' AND count / 2 > 3 LIMIT 5",
    )
    .unwrap();
    let statement = sql.parser().parse_statement().unwrap();
    let sqlparser::ast::Statement::Query(query) = statement else { panic!("{statement:?}") };
    let sqlparser::ast::SetExpr::Select(select) = *query.body else { panic!("{query:?}") };
    let condition = Condition::from_sql(&select.selection.unwrap()).unwrap();
    assert_eq!(condition.to_string(), "tags[*] LIKE 'a%' AND count / 2 > 3");
    let sql = Sql::read("SELECT item FROM topics WHERE count >").unwrap();
    let error = sql.error(&sql.parser().parse_statement().unwrap_err());
    assert_eq!(error.position(), Some(Position { line: 1, column: 38 }));
}

#[test]
fn an_expression_may_be_sent_to_another_thread_and_shared() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Expr>();
    check::<Condition>();
}
