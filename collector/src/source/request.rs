//! What the requests to feeds have in common: configured headers, redirects, and the query parameter that says where to begin.

use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::secret::SecretUrl;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::resume_point::Begin;
use crate::config::{Connect, Resume, Transport};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// How many redirects are followed.
pub const MAX_REDIRECTS: usize = 5;
/// The largest file of headers, a token or a password, in bytes. A server would hardly take more, and the file may be the wrong
/// one.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Why a connection could not be established, for people and without secrets.
pub type Refusal = String;

/// A request to a feed, as it is configured.
pub struct Request {
    connect: Connect,
    transport: Transport,
    url: Url,
}

/// Where a request goes, and the headers that are meant for that server. Changed by redirects.
pub struct Target {
    transport: Transport,
    /// The address.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    redirects: usize,
}

// === impl Request ===

impl Request {
    /// Checks the configuration.
    ///
    /// # Errors
    /// When the address, `headers_from_file` or `bearer_token_file` cannot be used.
    pub fn new(connect: &Connect, transport: Transport) -> Result<Self, Error> {
        let url = connect.address(transport).map_err(Error::Address)?;
        let request = Self { connect: connect.clone(), transport, url };
        request.headers().map_err(Error::Headers)?;
        Ok(request)
    }

    /// The configured target. Files of headers are read now.
    ///
    /// # Errors
    /// Why a file cannot be used.
    pub fn target(&self) -> Result<Target, Refusal> {
        let (transport, url) = (self.transport, self.url.clone());
        Ok(Target { transport, url, headers: self.headers()?, redirects: 0 })
    }

    /// The configured headers, which are for the configured server only.
    fn headers(&self) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::new();
        if !self.url.username().is_empty() || self.url.password().is_some() {
            let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
            let mut login = decoded(self.url.username());
            login.push(b':');
            login.extend(decoded(self.url.password().unwrap_or_default()));
            let value = format!("Basic {}", STANDARD.encode(login));
            insert(&mut headers, AUTHORIZATION.as_str(), &value)?;
        }
        for (name, value) in &self.connect.headers {
            insert(&mut headers, name, value.reveal())?;
        }
        let path = &self.connect.headers_from_file;
        if !path.as_os_str().is_empty() {
            let failed =
                |why: &str| format!("headers_from_file: cannot read {}: {why}", path.display());
            let text = read(path).map_err(|why| failed(&why))?;
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let header = line.split_once(':');
                let (name, value) = header.ok_or_else(|| failed("write one Name: value a line"))?;
                let (name, value) = (name.trim(), value.trim());
                self.connect
                    .may_set(name, self.transport)
                    .map_err(|why| failed(&format!("{name}: {why}")))?;
                insert(&mut headers, name, value).map_err(|why| failed(&why))?;
            }
        }
        let path = &self.connect.bearer_token_file;
        if !path.as_os_str().is_empty() {
            let failed =
                |why: &str| format!("bearer_token_file: cannot read {}: {why}", path.display());
            let token = read(path).map_err(|why| failed(&why))?;
            if token.trim().is_empty() {
                return Err(failed("it is empty; write the token into it"));
            }
            insert(&mut headers, AUTHORIZATION.as_str(), &format!("Bearer {}", token.trim()))
                .map_err(|why| failed(&why))?;
        }
        Ok(headers)
    }
}

// === impl Target ===

impl Target {
    /// Goes where a server redirects to. Other servers do not get the configured headers.
    ///
    /// # Errors
    /// Why the redirect is not followed.
    pub fn redirect(&mut self, location: Option<&HeaderValue>) -> Result<(), Refusal> {
        if self.redirects == MAX_REDIRECTS {
            return Err(format!("the server redirects more than {MAX_REDIRECTS} times"));
        }
        self.redirects += 1;
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.ok_or("the server redirects, but does not say where to")?;
        let next = follow(&self.url, location, self.transport)?;
        if is_other_server(&self.url, &next) {
            self.headers.clear();
        }
        self.url = next;
        Ok(())
    }

    /// The address without user info, which is sent as a header.
    pub fn plain_url(&self) -> Url {
        let mut plain = self.url.clone();
        // These fail only for an address without a host, and this one has a host.
        let _none = (plain.set_username(""), plain.set_password(None));
        plain
    }
}

/// The text of a small file, which may be the wrong one.
///
/// # Errors
/// When it cannot be read, or is not small.
pub fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    if read.map_err(|error| error.to_string())? as u64 > MAX_FILE_BYTES {
        return Err("it has more than 64 KiB, so it may be the wrong file".to_owned());
    }
    Ok(text)
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Refusal> {
    let key =
        HeaderName::try_from(name).map_err(|_| format!("'{name}' is not a valid header name"))?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| format!("the value of '{name}' is not valid in a header"))?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}

/// Where a redirect leads.
fn follow(from: &Url, location: &str, transport: Transport) -> Result<Url, Refusal> {
    let to = from
        .join(location)
        .map_err(|error| format!("the server redirects to an invalid address: {error}"))?;
    let schemes @ [plain, secure] = transport.schemes();
    if !schemes.contains(&to.scheme()) || to.host().is_none() {
        let shown = SecretUrl::from(location);
        return Err(format!(
            "the server redirects to {shown}; only {plain}:// and {secure}:// are followed, set url to where the feed is"
        ));
    }
    Ok(to)
}

/// Whether `other` must not get the headers that are meant for `one`.
fn is_other_server(one: &Url, other: &Url) -> bool {
    let server = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let is_secure = |url: &Url| matches!(url.scheme(), "wss" | "https");
    server(one) != server(other) && !is_upgrade(one, other) || is_secure(one) && !is_secure(other)
}

/// Whether `other` is the host of `one`, but with TLS and both on their usual ports.
fn is_upgrade(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str()
        && matches!((one.scheme(), one.port_or_known_default()), ("ws" | "http", Some(80)))
        && matches!((other.scheme(), other.port_or_known_default()), ("wss" | "https", Some(443)))
}

/// Sets the parameter that says where the feed is to begin, and removes one that is there already.
pub fn set_begin(url: &mut Url, resume: &Resume, begin: &Begin) {
    let Some(parameter) = resume.parameter() else { return };
    let value = match begin {
        Begin::AsConfigured => return,
        Begin::At(since) => Some(resume.time(*since).to_string()),
        Begin::After(cursor) => Some(encoded(cursor)),
        Begin::Now => None,
    };
    let is_other = |pair: &&str| pair.split('=').next() != Some(parameter) && !pair.is_empty();
    let query = url.query().unwrap_or_default().to_owned();
    let pair = value.map(|value| format!("{parameter}={value}"));
    let pairs: Vec<_> = query.split('&').filter(is_other).chain(pair.as_deref()).collect();
    url.set_query(if pairs.is_empty() { None } else { Some(pairs.join("&")) }.as_deref());
}

/// The bytes as the value of a query parameter.
fn encoded(value: &[u8]) -> String {
    percent_encoding::percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}
