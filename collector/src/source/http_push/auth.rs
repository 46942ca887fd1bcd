//! Who may send: whoever has a token, or signs with a secret.
//!
//! Tokens and secrets are the lines of files, so that an old and a new one can be valid at the same time. They are compared
//! in a time that does not depend on where they differ.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::watched::Watched;
use http::header::{AUTHORIZATION, HeaderMap, ORIGIN};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio_util::sync::CancellationToken;

use super::problem::{Problem, Step};
use crate::config::HttpPush as Section;
use crate::error::Error;
use crate::source::request::read;

#[cfg(test)]
mod tests;

/// How far the time in a signature may be from that of this collector, in seconds: as the specification of Standard
/// Webhooks recommends.
const TOLERANCE_S: i64 = 300;
/// The header of Standard Webhooks that names the message; it is the same when a message is sent again.
pub const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";
const HUB_SIGNATURE: &str = "x-hub-signature-256";

/// Checks requests.
#[derive(Debug)]
pub struct Auth {
    tokens: Option<Watched<Tokens>>,
    secrets: Option<Watched<Secrets>>,
}

/// What a request still has to show.
#[derive(Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Nothing.
    Granted,
    /// That its body has one of these codes.
    Signed(Signature),
}

/// A signature of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Signature {
    /// Of Standard Webhooks: codes of what comes before the body, and the body.
    Standard {
        /// `id.timestamp.`
        prefix: Vec<u8>,
        /// The codes, one for each secret that the sender has.
        codes: Vec<Vec<u8>>,
    },
    /// GitHub's: the code of the body.
    Hub(Vec<u8>),
}

#[derive(Debug)]
struct Tokens {
    /// Random, so that codes can be compared in place of tokens.
    key: hmac::Key,
    codes: Vec<hmac::Tag>,
}

#[derive(Debug)]
struct Secrets {
    random: hmac::Key,
    secrets: Vec<Secret>,
}

#[derive(Debug)]
struct Secret {
    /// The key as Standard Webhooks writes it: base64 after `whsec_`.
    standard: hmac::Key,
    /// The text itself.
    text: hmac::Key,
}

impl Auth {
    /// Reads the files of a section, and reads them again when they change, until `stop`.
    ///
    /// # Errors
    /// When a file cannot be read, or has nothing in it.
    pub fn new(section: &Section, stop: &CancellationToken) -> Result<Self, Error> {
        let (token, secret) = (section.token_file.clone(), section.secret_file.clone());
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let tokens = is_set(&token).then(|| {
            let files = vec![token.clone()];
            Watched::new("token_file", files, move || Tokens::of(&lines(&token)?), stop)
        });
        let secrets = is_set(&secret).then(|| {
            let files = vec![secret.clone()];
            Watched::new("secret_file", files, move || Secrets::of(&lines(&secret)?), stop)
        });
        Ok(Self {
            tokens: tokens.transpose().map_err(Error::Push)?,
            secrets: secrets.transpose().map_err(Error::Push)?,
        })
    }

    /// Checks what can be checked before the body is there. `now_s` is the time in seconds since 1970.
    ///
    /// # Errors
    /// The answer to a request that is not admitted.
    pub fn admit(&self, headers: &HeaderMap, now_s: i64) -> Step<Admitted> {
        if self.tokens.is_none() && self.secrets.is_none() {
            // Whoever is on this machine may send, but not the pages that its browsers show.
            return if headers.contains_key(ORIGIN) {
                Err(Problem::forbidden("a web page may not send here unless token_file is set"))
            } else {
                Ok(Admitted::Granted)
            };
        }
        let token = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if let (Some(tokens), Some(token)) = (&self.tokens, token)
            && tokens.get().hold(token)
        {
            return Ok(Admitted::Granted);
        }
        let signature = self.secrets.as_ref().and_then(|_| Signature::of(headers, now_s));
        match (signature, token) {
            (Some(signature), _) => signature.map(Admitted::Signed).map_err(Problem::unauthorized),
            (None, Some(_)) if self.tokens.is_some() => {
                Err(Problem::unauthorized("the token is not valid"))
            }
            (None, _) if self.secrets.is_none() => {
                Err(Problem::unauthorized("send a token: Authorization: Bearer …"))
            }
            (None, _) => Err(Problem::unauthorized(
                "sign the request: as Standard Webhooks, or with X-Hub-Signature-256",
            )),
        }
    }

    /// Checks a signature with the body, as it was sent.
    ///
    /// # Errors
    /// The answer to a request whose signature is wrong.
    pub fn verify(&self, admitted: &Admitted, body: &[u8]) -> Step<()> {
        match (admitted, &self.secrets) {
            (Admitted::Granted, _) => Ok(()),
            (Admitted::Signed(signature), Some(secrets)) if secrets.get().made(signature, body) => {
                Ok(())
            }
            (Admitted::Signed(_), _) => Err(Problem::unauthorized("the signature is not valid")),
        }
    }
}

impl Signature {
    fn of(headers: &HeaderMap, now_s: i64) -> Option<Result<Self, &'static str>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(codes) = text(WEBHOOK_SIGNATURE) {
            let (Some(id), Some(timestamp)) = (text(WEBHOOK_ID), text(WEBHOOK_TIMESTAMP)) else {
                return Some(Err("webhook-id or webhook-timestamp is missing"));
            };
            let is_near = timestamp
                .parse::<i64>()
                .is_ok_and(|sent_s| now_s.abs_diff(sent_s) <= TOLERANCE_S.unsigned_abs());
            if !is_near {
                return Some(Err("webhook-timestamp is more than five minutes off, or no number"));
            }
            let codes = codes
                .split(' ')
                .filter_map(|code| STANDARD.decode(code.strip_prefix("v1,")?).ok())
                .collect();
            let prefix = format!("{id}.{timestamp}.").into_bytes();
            return Some(Ok(Self::Standard { prefix, codes }));
        }
        let code = text(HUB_SIGNATURE)?.strip_prefix("sha256=").and_then(unhex);
        Some(code.map(Self::Hub).ok_or("x-hub-signature-256 is not sha256= and 64 hex digits"))
    }
}

impl Tokens {
    fn of(lines: &[String]) -> Result<Self, String> {
        let key = random_key()?;
        let codes = lines.iter().map(|token| hmac::sign(&key, token.as_bytes())).collect();
        Ok(Self { key, codes })
    }

    fn hold(&self, token: &[u8]) -> bool {
        // All are looked at, whichever fits.
        let fits = |code: &&hmac::Tag| hmac::verify(&self.key, token, code.as_ref()).is_ok();
        self.codes.iter().filter(fits).count() > 0
    }
}

impl Secrets {
    fn of(lines: &[String]) -> Result<Self, String> {
        let secret = |line: &String| {
            let text = line.as_bytes();
            let standard = match line.strip_prefix("whsec_") {
                Some(code) => STANDARD
                    .decode(code)
                    .map_err(|_| "what follows whsec_ is not base64".to_owned())?,
                None => text.to_vec(),
            };
            if standard.is_empty() {
                return Err("nothing follows whsec_, so that anybody could sign".to_owned());
            }
            Ok(Secret {
                standard: hmac::Key::new(hmac::HMAC_SHA256, &standard),
                text: hmac::Key::new(hmac::HMAC_SHA256, text),
            })
        };
        let secrets = lines.iter().map(secret).collect::<Result<_, String>>()?;
        Ok(Self { random: random_key()?, secrets })
    }

    fn made(&self, signature: &Signature, body: &[u8]) -> bool {
        let made = |secret: &&Secret| match signature {
            Signature::Hub(code) => hmac::verify(&secret.text, body, code).is_ok(),
            Signature::Standard { prefix, codes } => {
                let mut context = hmac::Context::with_key(&secret.standard);
                context.update(prefix);
                context.update(body);
                let right = hmac::sign(&self.random, context.sign().as_ref());
                codes.iter().any(|code| hmac::verify(&self.random, code, right.as_ref()).is_ok())
            }
        };
        self.secrets.iter().filter(made).count() > 0
    }
}

fn random_key() -> Result<hmac::Key, String> {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
        .map_err(|_| "the system gives no random bytes".to_owned())
}

/// The lines of a file that are not blank.
fn lines(path: &Path) -> Result<Vec<String>, String> {
    let text = read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(format!("{} has nothing in it", path.display())) } else { Ok(lines) }
}

/// The token in `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    is_hex.then(|| (0..64).step_by(2).filter_map(byte).collect())
}
