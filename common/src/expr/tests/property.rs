use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::model::{Cond, Step, Term, Val};
use super::*;

// === Documents ===

const KEYS: [&str; 5] = ["a", "b", "l", "odd name", "in"];

fn leaf() -> impl Strategy<Value = Json> {
    let edges = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(5),
        json!(2.5),
        json!(-0.0),
        json!(1e300),
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992.0),
        json!(i64::MIN),
        json!(u64::MAX),
        json!("5"),
        json!("2.50"),
        json!("-1e2"),
        json!(" 5"),
        json!(""),
        json!("Rust"),
        json!("rust-lang"),
        json!("\"\\\n/\u{1f600}é"),
    ];
    prop_oneof![
        3 => prop::sample::select(edges),
        1 => (-3_i64..30).prop_map(Json::from),
        1 => any::<f64>().prop_map(Json::from),
        1 => "[aArR%_é]{0,3}".prop_map(Json::from),
    ]
}

fn document() -> impl Strategy<Value = Json> {
    let value = leaf().prop_recursive(3, 24, 4, |inner| {
        let members =
            prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Json::from),
            members
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    prop::collection::vec(value, KEYS.len())
        .prop_map(|values| KEYS.iter().map(|key| (*key).to_owned()).zip(values).collect())
}

/// The document with every character of its strings escaped.
fn escaped(json: &Json) -> String {
    let string = |text: &str| {
        let mut written = String::from("\"");
        for unit in text.encode_utf16() {
            let _ = write!(written, "\\u{unit:04x}");
        }
        written + "\""
    };
    match json {
        Json::String(text) => string(text),
        Json::Array(elements) => {
            format!("[{}]", elements.iter().map(escaped).collect::<Vec<_>>().join(" , "))
        }
        Json::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(key, value)| string(key) + " : " + &escaped(value)).collect();
            format!("{{ {} }}", members.join(" , "))
        }
        scalar => scalar.to_string(),
    }
}

// === Expressions ===

fn path(every: bool) -> impl Strategy<Value = Term> {
    let key = prop::sample::select(KEYS.to_vec()).prop_map(|key| Step::Key(key.to_owned()));
    let index = (0_usize..3).prop_map(Step::Index);
    let step = if every {
        prop_oneof![2 => key.clone(), 1 => index, 4 => Just(Step::Every)].boxed()
    } else {
        prop_oneof![2 => key.clone(), 1 => index].boxed()
    };
    (key, prop::collection::vec(step, usize::from(every)..3)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        Term::Path(steps)
    })
}

fn number_literal() -> impl Strategy<Value = Term> {
    let texts = vec![
        "0",
        "5",
        "2.5",
        "-1",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "1e300",
        "-1e2",
    ];
    prop_oneof![
        prop::sample::select(texts).prop_map(str::to_owned),
        (-3_i64..30).prop_map(|n| n.to_string())
    ]
    .prop_map(|text| Term::Literal(text.clone(), Val::number(&text)))
}

fn text_literal() -> impl Strategy<Value = Term> {
    let texts =
        vec!["", "5", "2.50", "Rust", "rust-lang", "it's", "\"\\\n/\u{1f600}é", "<5", "5-20"];
    prop::sample::select(texts).prop_map(|text| {
        Term::Literal(format!("'{}'", text.replace('\'', "''")), Val::Text(text.to_owned()))
    })
}

fn number(every: bool) -> BoxedStrategy<Term> {
    let base =
        if every { path(true).boxed() } else { prop_oneof![path(false), number_literal()].boxed() };
    base.prop_recursive(3, 8, 2, |inner| {
        let sign = prop::sample::select(vec!['+', '-', '*', '/', '%']);
        let plain = prop_oneof![path(false), number_literal()];
        prop_oneof![
            (inner.clone(), sign, plain, any::<bool>()).prop_map(|(a, sign, b, swap)| {
                let (a, b) = if swap { (b, a) } else { (a, b) };
                Term::Compute(Box::new(a), sign, Box::new(b))
            }),
            inner.prop_map(|a| Term::Negate(Box::new(a))),
        ]
    })
    .boxed()
}

fn text(every: bool) -> BoxedStrategy<Term> {
    let value =
        if every { path(true).boxed() } else { prop_oneof![path(false), text_literal()].boxed() };
    prop_oneof![
        value.clone(),
        value.prop_map(|a| Term::Lower(Box::new(a))),
        (number(every), prop::collection::btree_set(-3_i64..30, 1..4))
            .prop_map(|(a, bounds)| Term::Bucket(Box::new(a), bounds.into_iter().collect())),
    ]
    .boxed()
}

fn predicate(every: bool) -> BoxedStrategy<Cond> {
    let sign = || prop::sample::select(vec!["=", "<>", "!=", "<", "<=", ">", ">="]);
    let length = if every { path(true).boxed() } else { text(false) };
    let number_or_length =
        prop_oneof![number(every), length.prop_map(|a| Term::Length(Box::new(a)))];
    let list = || prop::collection::vec(prop_oneof![number_literal(), text_literal()], 1..4);
    let what = || prop::sample::select(vec![None, Some(true), Some(false)]);
    prop_oneof![
        path(every).prop_map(Cond::Truth),
        (number_or_length.clone(), sign(), number(false))
            .prop_map(|(a, sign, b)| Cond::Compare(a, sign, b)),
        (number(false), sign(), number_or_length.clone())
            .prop_map(|(a, sign, b)| Cond::Compare(a, sign, b)),
        (text(every), sign(), text(false)).prop_map(|(a, sign, b)| Cond::Compare(a, sign, b)),
        (path(every), sign(), prop_oneof![path(false), text_literal()])
            .prop_map(|(a, sign, b)| Cond::Compare(a, sign, b)),
        (number_or_length, any::<bool>(), number(false), number(false))
            .prop_map(|(a, negated, b, c)| Cond::Between(a, negated, b, c)),
        (path(every), any::<bool>(), list())
            .prop_map(|(a, negated, list)| Cond::In(a, negated, list)),
        (text(every), any::<bool>(), "[aArRust%_é'-]{0,5}")
            .prop_map(|(a, negated, pattern)| Cond::Like(a, negated, pattern)),
        (path(every), any::<bool>(), what())
            .prop_map(|(a, negated, what)| Cond::Is(a, negated, what)),
        (number(every), any::<bool>()).prop_map(|(a, negated)| Cond::Is(a, negated, None)),
    ]
    .boxed()
}

fn condition() -> impl Strategy<Value = Cond> {
    prop_oneof![predicate(false), predicate(true)].prop_recursive(4, 12, 3, |inner| {
        let nested = |a: Cond| match a {
            // A path that is an operand is no predicate by itself.
            Cond::Truth(_) => Term::Condition(Box::new(Cond::Not(Box::new(a)))),
            a => Term::Condition(Box::new(a)),
        };
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Cond::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Cond::Or),
            inner.clone().prop_map(|a| Cond::Not(Box::new(a))),
            (
                inner.clone(),
                any::<bool>(),
                prop::sample::select(vec![None, Some(true), Some(false)])
            )
                .prop_map(move |(a, negated, what)| Cond::Is(nested(a), negated, what)),
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| Cond::Compare(
                nested(a),
                "=",
                nested(b)
            )),
            (path(true), inner).prop_map(move |(a, b)| Cond::Compare(a, "<>", nested(b))),
        ]
    })
}

// === Their texts, with a parenthesis around every operand ===

fn written(term: &Term) -> String {
    match term {
        Term::Literal(text, _) => text.clone(),
        Term::Path(steps) => {
            let is_pointer = steps.iter().all(|step| match step {
                Step::Key(key) => !key.contains(' '),
                Step::Every => true,
                Step::Index(_) => false,
            });
            let steps = steps.iter().enumerate().map(|(place, step)| match step {
                Step::Key(key) if is_pointer => format!("/{key}"),
                Step::Every if is_pointer => "/*".to_owned(),
                Step::Key(key) if key.len() == 1 => {
                    format!("{}{key}", if place == 0 { "" } else { "." })
                }
                Step::Key(key) => format!("{}\"{key}\"", if place == 0 { "" } else { "." }),
                Step::Every => "[*]".to_owned(),
                Step::Index(index) => format!("[{index}]"),
            });
            steps.collect()
        }
        Term::Compute(a, sign, b) => format!("({}) {sign}({})", written(a), written(b)),
        Term::Negate(a) => format!("-({})", written(a)),
        Term::Lower(a) => format!("Lower({})", written(a)),
        Term::Length(a) => format!("LENGTH ( {} )", written(a)),
        Term::Bucket(a, bounds) => {
            let bounds: String = bounds.iter().map(|bound| format!(", {bound}")).collect();
            format!("bucket({}{bounds})", written(a))
        }
        Term::Condition(a) => text_of(a),
    }
}

fn text_of(condition: &Cond) -> String {
    let joined = |all: &[Cond], by: &str| {
        all.iter().map(|one| format!("({})", text_of(one))).collect::<Vec<_>>().join(by)
    };
    let not = |negated: &bool| if *negated { "not " } else { "" };
    match condition {
        Cond::And(all) => joined(all, " AND"),
        Cond::Or(all) => joined(all, " or\n"),
        Cond::Not(a) => format!("NOT({})", text_of(a)),
        Cond::Truth(a) => written(a),
        Cond::Compare(a, sign, b) => format!("({}) {sign}({})", written(a), written(b)),
        Cond::Between(a, negated, b, c) => {
            format!(
                "({}) {}BETWEEN ({}) AND ({})",
                written(a),
                not(negated),
                written(b),
                written(c)
            )
        }
        Cond::In(a, negated, list) => {
            let list: Vec<_> = list.iter().map(written).collect();
            format!("{} {}in ({})", written(a), not(negated), list.join(" ,"))
        }
        Cond::Like(a, negated, pattern) => {
            format!("{} {}Like '{}'", written(a), not(negated), pattern.replace('\'', "''"))
        }
        Cond::Is(a, negated, what) => {
            let what = what.map_or("null".to_owned(), |what| what.to_string());
            format!("({}) IS {}{what}", written(a), not(negated))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_condition_is_what_a_walk_over_the_tree_finds(condition in condition(), documents in prop::collection::vec(document(), 1..4)) {
        let text = text_of(&condition);
        prop_assume!(text.len() <= MAX_TEXT);
        let compiled = match Condition::parse(&text) {
            Ok(compiled) => compiled,
            Err(Error::TooManyPaths(_)) => return Ok(()),
            Err(error) => panic!("{text}: {error}"),
        };
        let mut slots = Slots::default();
        for document in documents {
            let expected = condition.truth(&document);
            prop_assert_eq!(compiled.holds(document.to_string().as_bytes(), &mut slots), expected, "{}: {}", text, document);
            prop_assert_eq!(compiled.holds(escaped(&document).as_bytes(), &mut slots), expected, "{}: {}", text, document);
        }
    }

    #[test]
    fn an_expression_reads_back_what_it_prints(condition in condition()) {
        let text = text_of(&condition);
        prop_assume!(text.len() <= MAX_TEXT);
        if let Ok(parsed) = Expr::parse(&text) {
            let canonical = parsed.to_string();
            let again = Expr::parse(&canonical).map_err(|e| TestCaseError::fail(format!("{text}: {canonical}: {e}")))?;
            prop_assert_eq!(&again, &parsed, "{}: {}", text, canonical);
            prop_assert_eq!(again.to_string(), canonical);
        }
    }

    #[test]
    fn a_path_reads_back_what_it_prints(
        names in prop::collection::vec("[a-z\"$_@.' é/]{0,4}|and|NULL|select", 1..5),
        kinds in prop::collection::vec(0..4, 5),
    ) {
        let steps = names.into_iter().zip(kinds).map(|(name, kind)| match kind {
            0 => super::Step::Every,
            1 => super::Step::Index(name.len()),
            _ => super::Step::Key(name),
        });
        let path = Path::new(steps.collect());
        let expr = Expr::parse(&format!("-{path} / 2")).unwrap();
        prop_assert_eq!(expr.paths(), [path]);
    }
}
