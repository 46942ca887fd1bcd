use std::fs;

use tempfile::TempDir;

use super::*;

const NOW_S: i64 = 1_674_087_231;

struct Bench {
    folder: TempDir,
    auth: Auth,
}

fn bench(tokens: Option<&str>, secrets: Option<&str>) -> Bench {
    let folder = TempDir::new().unwrap();
    let mut section = Section::default();
    if let Some(text) = tokens {
        section.token_file = folder.path().join("token");
        fs::write(&section.token_file, text).unwrap();
    }
    if let Some(text) = secrets {
        section.secret_file = folder.path().join("secret");
        fs::write(&section.secret_file, text).unwrap();
    }
    Bench { auth: Auth::new(&section, &CancellationToken::new()).unwrap(), folder }
}

impl Bench {
    fn passes(&self, headers: &[(&'static str, &str)], body: &str) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = HeaderMap::from_iter(headers);
        let admitted = self.auth.admit(&headers, NOW_S);
        admitted.is_ok_and(|admitted| self.auth.verify(&admitted, body.as_bytes()).is_ok())
    }
}

#[tokio::test]
async fn without_tokens_and_secrets_anybody_may_send_except_web_pages() {
    let bench = bench(None, None);
    assert!(bench.passes(&[], "{}"));
    assert!(!bench.passes(&[("origin", "http://127.0.0.1:8910")], "{}"));
}

#[tokio::test]
async fn each_line_of_the_file_is_a_token_and_nothing_else_is() {
    let bench = bench(Some("old-token\n\n new-token \r\n"), None);
    for (value, passes) in [
        ("Bearer old-token", true),
        ("bearer  new-token", true),
        ("Bearer old-toke", false),
        ("Bearer old-token2", false),
        ("Bearer", false),
        ("Bearer ", false),
        ("Basic old-token", false),
        ("old-token", false),
    ] {
        assert_eq!(bench.passes(&[("authorization", value)], ""), passes, "{value}");
    }
    assert!(!bench.passes(&[], ""));
}

#[tokio::test]
async fn a_changed_token_is_valid_after_a_while_and_the_former_one_is_not() {
    let bench = bench(Some("old"), None);
    fs::write(bench.folder.path().join("token"), "new").unwrap();
    while !bench.passes(&[("authorization", "Bearer new")], "") {
        tokio::task::yield_now().await;
    }
    assert!(!bench.passes(&[("authorization", "Bearer old")], ""));
}

#[tokio::test]
async fn github_s_signature_is_that_of_its_documentation() {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    let bench = bench(None, Some("It's a Secret to Everybody"));
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(bench.passes(&[("x-hub-signature-256", right)], "Hello, World!"));
    assert!(!bench.passes(&[("x-hub-signature-256", right)], "Hello, World?"));
    assert!(!bench.passes(&[("x-hub-signature-256", &right[..70])], "Hello, World!"));
    assert!(!bench.passes(&[], "Hello, World!"));
}

#[tokio::test]
async fn a_standard_webhook_passes_with_any_of_its_codes_while_it_is_new() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let bench = bench(None, Some(secret));
    let (id, body) = ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", r#"{"rsvp_id":1}"#);
    let code = |timestamp: i64| {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!("{id}.{timestamp}.{body}");
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    };
    let passes = |timestamp: i64, codes: &str, body: &str| {
        let timestamp = timestamp.to_string();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", codes),
        ];
        bench.passes(&headers, body)
    };
    let right = code(NOW_S);
    assert!(passes(NOW_S, &right, body));
    assert!(passes(NOW_S, &format!("v1a,xx v1,AAAA {right}"), body), "while secrets change");
    assert!(!passes(NOW_S, &right, "{}"));
    assert!(!passes(NOW_S + 1, &right, body));
    assert!(!passes(NOW_S, "v1,AAAA", body));
    assert!(passes(NOW_S - TOLERANCE_S, &code(NOW_S - TOLERANCE_S), body));
    assert!(!passes(NOW_S - TOLERANCE_S - 1, &code(NOW_S - TOLERANCE_S - 1), body));
    assert!(!passes(i64::MIN, &code(i64::MIN), body));
    assert!(!bench.passes(&[("webhook-signature", &right)], body));
}

#[tokio::test]
async fn either_a_token_or_a_signature_is_enough_when_both_are_configured() {
    let bench = bench(Some("token"), Some("It's a Secret to Everybody"));
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(bench.passes(&[("authorization", "Bearer token")], "any"));
    assert!(bench.passes(&[("x-hub-signature-256", right)], "Hello, World!"));
    let both = [("authorization", "Bearer x"), ("x-hub-signature-256", right)];
    assert!(bench.passes(&both, "Hello, World!"), "the token may be meant for a proxy");
    assert!(!bench.passes(&both, "Hello, World?"));
    assert!(!bench.passes(&both[..1], "Hello, World!"));
}

#[tokio::test]
async fn a_file_that_is_missing_or_empty_is_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    let section = Section { token_file: path.clone(), ..Section::default() };
    let stop = CancellationToken::new();
    Auth::new(&section, &stop).unwrap_err();
    fs::write(&path, " \n").unwrap();
    Auth::new(&section, &stop).unwrap_err();
    for secret in ["whsec_!", "good\nwhsec_"] {
        fs::write(&path, secret).unwrap();
        let section = Section { secret_file: path.clone(), ..Section::default() };
        Auth::new(&section, &stop).unwrap_err();
    }
}
