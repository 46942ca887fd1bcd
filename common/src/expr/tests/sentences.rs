use super::*;

#[test]
fn an_error_says_where_what_is_wrong_and_what_is_allowed() {
    for (condition, sentence) in [
        ("", "an expression is expected, and there is none: write a condition such as price > 0"),
        (
            "a > 1 AND foo(b) = 1",
            "line 1, column 11: there is no function 'foo': bucket, length and lower are known",
        ),
        (
            "a >\n  foo(1)",
            "line 2, column 3: there is no function 'foo': bucket, length and lower are known",
        ),
        ("'ä' + 1 > 0", "line 1, column 1: a number is expected, and this is a text"),
        (
            "tags[*]name = 'x'",
            "line 1, column 8: a dot or an operator is expected here, after a path",
        ),
        ("price + 1", "line 1, column 1: a condition is expected, and this is a number"),
        ("'x'", "line 1, column 1: a condition is expected, and this is a text"),
        ("NULL", "line 1, column 1: a condition is expected, and this is NULL"),
        ("a AND lower(b)", "line 1, column 7: a condition is expected, and this is a text"),
        (
            "x = NULL",
            "line 1, column 5: a comparison with NULL is never true: use IS NULL or IS NOT NULL",
        ),
        (
            "x IN (1, NULL)",
            "line 1, column 10: a comparison with NULL is never true: use IS NULL or IS NOT NULL",
        ),
        (
            "a * 2 = '4'",
            "line 1, column 9: a number is never equal to, less or greater than a text: compare values of one type",
        ),
        (
            "1 < x < 5",
            "line 1, column 9: a condition is never equal to, less or greater than a number: compare values of one type",
        ),
        (
            "a[*] = b[*]",
            "line 1, column 8: this is the second path with [*] in one comparison: only one side may stand for every element",
        ),
        (
            "x >",
            "line 1, column 4: a path, a number, a text in single quotes or a function is expected here, and this is the end of the text",
        ),
        (
            "x > AND y",
            "line 1, column 5: a path, a number, a text in single quotes or a function is expected here, and this is 'AND'",
        ),
        (
            "x = 'a",
            "line 1, column 5: the single quote that ends the text is missing: a quote in a text is written twice",
        ),
        (
            "\"x = 'a'",
            "line 1, column 1: the double quote that ends the name is missing: texts are in single quotes",
        ),
        ("(x = 1", "line 1, column 1: the parenthesis that closes this one is missing"),
        ("x = 1)", "line 1, column 6: this parenthesis has none that opens it"),
        (
            "x = 1 y",
            "line 1, column 7: 'y' is not part of the language: AND, OR, NOT, =, <>, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, +, -, *, / and % are known",
        ),
        (
            "x == 1",
            "line 1, column 3: '==' is not part of the language: AND, OR, NOT, =, <>, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, +, -, *, / and % are known",
        ),
        (
            "x ILIKE 'a'",
            "line 1, column 3: 'ILIKE' is not part of the language: AND, OR, NOT, =, <>, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, +, -, *, / and % are known",
        ),
        ("x 5", "line 1, column 3: an operator is expected here, and this is '5'"),
        (
            "CASE WHEN x THEN 1 END",
            "line 1, column 1: 'CASE' is not part of the language: a condition compares values of one event",
        ),
        (
            "x IN (SELECT 1)",
            "line 1, column 7: 'SELECT' is not part of the language: a condition compares values of one event",
        ),
        ("x IN (y)", "line 1, column 7: a list holds texts, numbers, TRUE and FALSE"),
        ("x IN 5", "line 1, column 6: a list in parentheses is expected here, and this is '5'"),
        (
            "x IS 5",
            "line 1, column 6: NULL, TRUE or FALSE, each also with NOT before it, is expected here, and this is '5'",
        ),
        (
            "x = ANY(1)",
            "line 1, column 1: ANY is not part of the language: see docs/expressions.md for what is",
        ),
        (
            "x COLLATE y = 1",
            "line 1, column 1: COLLATE is not part of the language: see docs/expressions.md for what is",
        ),
        ("x LIKE y", "line 1, column 8: a pattern is a text in single quotes, such as 'rust%'"),
        (
            "x LIKE 'a' ESCAPE 'ab'",
            "line 1, column 19: ESCAPE takes one character in single quotes",
        ),
        (
            "x LIKE 'a!b' ESCAPE '!'",
            "line 1, column 8: the escape character stands before %, _ or itself only",
        ),
        (
            "bucket(x) = 'a'",
            "line 1, column 1: write bucket(path, 20, 30): a value, and numbers that ascend",
        ),
        (
            "bucket(x, 2, 1) = 'a'",
            "line 1, column 1: write bucket(path, 20, 30): a value, and numbers that ascend",
        ),
        (
            "bucket(x, y) = 'a'",
            "line 1, column 1: write bucket(path, 20, 30): a value, and numbers that ascend",
        ),
        ("lower(x, y) = 'a'", "line 1, column 1: write lower(path), with one text"),
        ("length() = 1", "line 1, column 1: write length(path), with one text"),
        ("x = 1e999", "line 1, column 5: this number is too large"),
        ("x = x'ff'", "line 1, column 6: an operator is expected here, and this is 'ff'"),
        (
            "a[x] = 1",
            "line 1, column 1: write [*] for every element of an array, or [0] for one of them",
        ),
        (
            "a. = 1",
            "line 1, column 1: a name is expected after '.', and any that is not made of letters, digits and _ in double quotes",
        ),
        ("/ = 1", "line 1, column 1: a name is expected after '/'"),
        (
            "/a~2 = 1",
            "line 1, column 1: in a pointer, write ~1 for a slash and ~0 for a tilde in a name",
        ),
        (
            "/a*2 = 1",
            "line 1, column 1: in a pointer, * is a step of its own: write white space before an operator",
        ),
        (
            "x = 1 -- y",
            "line 1, column 7: there are no comments: write a space between two minuses",
        ),
        (
            "x = 1 /* y */",
            "line 1, column 7: there are no comments: write a space between two minuses",
        ),
        ("(x).y = 1", "line 1, column 4: an operator is expected here, and this is '.'"),
        ("lower(x)[0] = 1", "line 1, column 9: an operator is expected here, and this is '['"),
        (
            "x = `y`",
            "line 1, column 5: a path, a number, a text in single quotes or a function is expected here, and this is '`'",
        ),
        (
            "x = y; z",
            "line 1, column 6: ';' is not part of the language: AND, OR, NOT, =, <>, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, +, -, *, / and % are known",
        ),
    ] {
        assert_eq!(error(condition).to_string(), sentence, "{condition}");
    }
}

#[test]
fn a_text_above_a_bound_is_refused_by_the_name_of_the_bound() {
    let list = |count: usize| vec!["-1"; count].join(",");
    let paths =
        |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>().join(" AND ");
    let steps = |count: usize| vec!["s"; count].join(".");
    let chain = |count: usize, by: &str| vec!["x"; count].join(by);
    let wrapped = |open: &str, count: usize, inner: &str, close: &str| {
        open.repeat(count) + inner + &close.repeat(count)
    };
    for accepted in [
        format!("x IN ({})", list(MAX_LIST)),
        format!(
            "bucket(x, {}) = ''",
            (0..MAX_LIST).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
        ),
        paths(MAX_PATHS),
        steps(MAX_STEPS),
        chain(MAX_NODES - 1, " OR "),
        wrapped("(", MAX_DEPTH, "x", ")"),
        wrapped("NOT ", MAX_DEPTH - 1, "x", ""),
        wrapped("lower(", MAX_DEPTH - 2, "x", ")") + " = ''",
        format!("x LIKE '%{}_%'", "a".repeat(MAX_WILD - 1)),
        format!("x = '{}'", "a".repeat(MAX_TEXT - 6)),
    ] {
        Condition::parse(&accepted).unwrap_or_else(|e| panic!("{accepted}: {e}"));
    }
    let at = |column| Position { line: 1, column };
    for (refused, expected) in [
        (format!("x IN ({})", list(MAX_LIST + 1)), Error::ListTooLong(at(1))),
        (format!("x IN ({})", list(1000)), Error::ListTooLong(at(3))),
        (paths(MAX_PATHS + 1), Error::TooManyPaths(at(247))),
        (steps(MAX_STEPS + 1), Error::TooManySteps(at(1))),
        (chain(MAX_NODES, " OR "), Error::TooManyNodes),
        (chain(1000, "+") + "=1", Error::TooManyNodes),
        (chain(100, "+") + "=1", Error::TooDeep),
        (wrapped("(", MAX_DEPTH + 1, "x", ")"), Error::TooDeep),
        (wrapped("NOT ", MAX_DEPTH, "x", ""), Error::TooDeep),
        (wrapped("- ", 1000, "x", "") + "=1", Error::TooDeep),
        (wrapped("lower(", 500, "x", ")"), Error::TooDeep),
        (format!("x LIKE '%{}_%'", "a".repeat(MAX_WILD)), Error::WildTooLong(at(8))),
        (format!("x = '{}'", "a".repeat(MAX_TEXT)), Error::TooLong(MAX_TEXT + 6)),
    ] {
        assert_eq!(error(&refused), expected, "{refused}");
    }
}

#[test]
fn an_error_shows_a_hundred_characters_of_the_text_at_most_and_no_control_characters() {
    let long = "ä".repeat(1000);
    for text in [
        format!("x {long}"),
        format!("{long}(1)"),
        format!("x = y \"{long}\""),
        format!("1 {long}.{long}"),
    ] {
        let sentence = error(&text).to_string();
        assert!(sentence.chars().filter(|c| *c == 'ä').count() <= 100, "{sentence}");
    }
    let sentence = error("x \"\u{1b}[2J\"").to_string();
    assert!(!sentence.contains('\u{1b}'), "{sentence}");
}
